# SPDX-License-Identifier: Apache-2.0
"""Any search of a decoder, with probabilities over what leads to an item.

    config.retrieval = {
      "name": "retrieval.OverChildren",
      "search": {"name": "retrieval.Beam", "num_beams": 64},
    }

For models whose loss is over children too; see decoding/over_children.py.
"""

import dataclasses
from typing import Any

from jaxtyping import Array, UInt32

from genrec_jax.core import seams
from genrec_jax.decoding.over_children import ChildrenDecoder
from genrec_jax.retrieval.strategy import (
  BoundModel,
  Found,
  SearchItems,
  Strategy,
  Widening,
)


@dataclasses.dataclass(frozen=True)
class OverChildren:
  """See the module docstring.

  Attributes:
    search: a strategy that needs a decoder and no more, such as
      retrieval.Beam.
  """

  search: Any

  def __post_init__(self):
    seams.require(self.search, Strategy, "config.retrieval.search")
    if tuple(self.search.needs) != (seams.DecoderModel,):
      names = ", ".join(need.__name__ for need in self.search.needs)
      raise ValueError(
        "config.retrieval.search must ask for a decoder alone, such as"
        f" retrieval.Beam; {type(self.search).__name__} needs {names}."
      )

  @property
  def needs(self) -> tuple[type, ...]:
    """What the search needs."""
    return self.search.needs

  @property
  def num_results(self) -> int:
    """Those of the search."""
    return self.search.num_results

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    return self.search(ChildrenDecoder(model, items.trie), items, allowed_BW)

  def widened(self, num_results: int) -> "OverChildren":
    """See Widening; a search that cannot be widened stays."""
    if not seams.offers(self.search, Widening):
      return self
    wider = self.search.widened(num_results)
    return dataclasses.replace(self, search=wider)
