# SPDX-License-Identifier: Apache-2.0
"""What can follow the first codes of an item, and who shares them.

    children[i, m, c]   some item has i's first m codes, and then c
    siblings            items in the order of their codes: those that share the
                        first m of i are places first[i, m] .. end[i, m] - 1

Row 0 is padding: no item, and nothing follows it. Shapes: V1 rows, M levels,
C codes of the largest level.
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np


def children_of(
  codes_VM: Int[np.ndarray, "V1 M"], num_codes: int
) -> Bool[np.ndarray, "V1 M C"]:
  """Which codes can follow, by item.

  Raises:
    ValueError: codes beyond num_codes.
  """
  if codes_VM.max(initial=0) >= num_codes:
    raise ValueError(
      f"config.pipeline.layout.num_codes={num_codes}, and the item tokens have"
      f" code {codes_VM.max()}: set it to the size of the largest level."
    )
  found_VMC = np.zeros((*codes_VM.shape, num_codes), bool)
  codes_NM = codes_VM[1:]
  prefix_N = np.zeros(len(codes_NM), np.int64)
  for level, code_N in enumerate(codes_NM.T):
    table_PC = np.zeros((prefix_N.max(initial=0) + 1, num_codes), bool)
    table_PC[prefix_N, code_N] = True
    found_VMC[1:, level] = table_PC[prefix_N]
    _, prefix_N = np.unique(prefix_N * num_codes + code_N, return_inverse=True)
  return found_VMC


@dataclasses.dataclass(frozen=True)
class Siblings:
  """Items by their codes, so that those of a prefix are neighbours.

  Attributes:
    items_N: items in the order of their codes.
    first_VM, end_VM: places of those that share m codes, m = 0 to M - 1.
  """

  items_N: Int[np.ndarray, "N"]
  first_VM: Int[np.ndarray, "V1 M"]
  end_VM: Int[np.ndarray, "V1 M"]

  @classmethod
  def of(cls, codes_VM: Int[np.ndarray, "V1 M"]) -> "Siblings":
    """Sorts the items."""
    items_N = 1 + np.lexsort(codes_VM[1:].T[::-1])
    codes_NM = codes_VM[items_N]
    first_VM = np.zeros(codes_VM.shape, np.int64)
    end_VM = np.zeros(codes_VM.shape, np.int64)
    new_N = np.arange(len(items_N)) == 0
    for level in range(codes_VM.shape[1]):
      starts = np.append(np.flatnonzero(new_N), len(items_N))
      group_N = np.cumsum(new_N) - 1
      first_VM[items_N, level] = starts[group_N]
      end_VM[items_N, level] = starts[group_N + 1]
      new_N[1:] |= codes_NM[1:, level] != codes_NM[:-1, level]
    return cls(items_N, first_VM, end_VM)

  def draw(
    self, item_n: Int[np.ndarray, "n"], count: int, rng: np.random.Generator
  ) -> Int[np.ndarray, "n count"]:
    """Items that share at least 0, 1, .. M - 1 codes, each as often."""
    shape = (len(item_n), count)
    level_nK = rng.integers(self.first_VM.shape[1], size=shape)
    first_nK = self.first_VM[item_n[:, None], level_nK]
    size_nK = self.end_VM[item_n[:, None], level_nK] - first_nK
    return self.items_N[
      first_nK + np.floor(rng.random(shape) * size_nK).astype(int)
    ]
