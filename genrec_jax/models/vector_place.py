# SPDX-License-Identifier: Apache-2.0
"""Where a model of codes and vectors reads its vector: before codes or behind.

A vector of the history is the same for all beams, and all items may be searched
by it. One that is read behind codes exists once a search has written them.
"""

from typing import Any

_PLACES = ("codes", "history")


def check_vector_from(vector_from: str) -> None:
  """Raises a ValueError for what is no place."""
  if vector_from not in _PLACES:
    raise ValueError(
      f"config.system.vector_from={vector_from!r} must be 'codes' or 'history'."
    )


def check_of_history(model: Any, of_history: bool) -> None:
  """Raises a ValueError where a history alone is asked for its vector.

  Args:
    model: that is asked.
    of_history: whether it reads the vector before codes.
  """
  if not of_history:
    raise ValueError(
      f"config.system ({type(model).__name__}) reads an item's vector behind"
      " its codes: a history alone has none to search items by. Search by"
      " retrieval.BeamFusion, or train with"
      " config.system.vector_from='history'."
    )
