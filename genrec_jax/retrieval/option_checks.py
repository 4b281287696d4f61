# SPDX-License-Identifier: Apache-2.0
"""What options of a search may be: counts from 1 on, and scales from 0 on."""

import math
import numbers
from typing import Any


def check_counts(search: Any, *names: str) -> None:
  """Raises a ValueError that names an option which is no whole number >= 1."""
  for name in names:
    value = vars(search)[name]
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
      raise ValueError(
        f"config.retrieval.{name}={value!r} must be at least 1, a whole number."
      )


def check_scales(search: Any, *names: str) -> None:
  """Raises a ValueError that names an option which is no finite number >= 0."""
  for name in names:
    value = vars(search)[name]
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value < math.inf:
      raise ValueError(
        f"config.retrieval.{name}={value!r} must be a number of 0 or more."
      )
