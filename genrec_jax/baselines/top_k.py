# SPDX-License-Identifier: Apache-2.0
"""The k best of a row of scores, in NumPy, for rankers that run on the host.

The order is the one of every retriever here: score descending, then lower item
index first. Both are put into one 64-bit key per entry,

    key = 2^32 (int32 in the order of the float32 score) + 2^32 - 1 - index

so no two keys are equal, and a partition followed by a sort of k keys is exact
where a partition of the scores alone would break ties at random. Column 0 is
padding and, like an entry that is masked or scored -inf or NaN, is never
returned: rows that have fewer than k items end in id 0, score -inf.
(B, V + 1) scores in, (B, k) ids and scores out; time O(B V + B k log k).
"""

from jaxtyping import Bool, Float, Int
import numpy as np

_LOW = np.int64(2**32 - 1)


def top_k(
  scores_BV: Float[np.ndarray, "B V1"],
  k: int,
  allowed_BV: Bool[np.ndarray, "B V1"] | None = None,
) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
  """Returns (ids int32, scores float32) of the k best, best first.

  Scores are compared as float32. k may exceed the number of items.
  """
  if k < 1:
    raise ValueError(f"k={k}: at least one item must be asked for")
  num_rows, num_columns = scores_BV.shape
  # Adding 0 turns -0.0 into 0.0: as scores they are a tie.
  scores_BV = scores_BV.astype(np.float32) + np.float32(0)
  drop_BV = np.isnan(scores_BV)
  if allowed_BV is not None:
    drop_BV |= ~allowed_BV
  drop_BV[:, 0] = True
  scores_BV[drop_BV] = -np.inf

  bits_BV = scores_BV.view(np.int32)
  # Negative floats compare in reverse when their bits are read as integers.
  bits_BV = np.where(bits_BV < 0, bits_BV ^ np.int32(0x7FFFFFFF), bits_BV)
  column_V = _LOW - np.arange(num_columns, dtype=np.int64)
  key_BV = (bits_BV.astype(np.int64) << 32) + column_V[None]
  found = min(k, num_columns)
  if found < num_columns:
    key_BV = np.partition(key_BV, num_columns - found, axis=1)[:, -found:]
  key_BK = np.sort(key_BV, axis=1)[:, ::-1]

  ids_BK = np.zeros((num_rows, k), np.int32)
  best_BK = np.full((num_rows, k), -np.inf, np.float32)
  ids_BK[:, :found] = _LOW - (key_BK & _LOW)
  best_BK[:, :found] = np.take_along_axis(scores_BV, ids_BK[:, :found], axis=1)
  ids_BK[best_BK == -np.inf] = 0
  return ids_BK, best_BK
