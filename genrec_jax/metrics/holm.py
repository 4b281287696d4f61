# SPDX-License-Identifier: Apache-2.0
"""Holm's correction of a family of p-values (Holm 1979).

With p_(1) <= ... <= p_(m), the adjusted value of p_(i) is the largest of
(m - j + 1) p_(j) over j <= i, at most 1. What is below alpha after it is wrong
in any member of the family with probability alpha at most, whatever the
dependence between them.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
  """Adjusted p-values, in the order that they came in.

  Raises:
    ValueError: something is no probability.
  """
  for key, p in p_values.items():
    if not 0 <= p <= 1:
      raise ValueError(f"p={p} of {key!r} must be between 0 and 1")
  adjusted, largest = {}, 0.0
  ordered = sorted(p_values, key=p_values.__getitem__)
  for place, key in enumerate(ordered):
    largest = max(largest, min(1.0, (len(ordered) - place) * p_values[key]))
    adjusted[key] = largest
  return {key: adjusted[key] for key in p_values}
