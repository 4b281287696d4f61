# SPDX-License-Identifier: Apache-2.0
"""T5's buckets of relative positions (Raffel et al., JMLR 2020, section 2.1).

A distance below half of the buckets has one of its own; farther ones share
buckets that grow by a constant factor up to max_distance, and beyond that all
share the last. Where keys may lie on both sides, each side has half of them.

    exact = n / 2,   bucket(d) = d                                   d < exact
                     bucket(d) = exact + (n - exact) * log(d / exact)
                                         / log(max_distance / exact)  else
"""

import numpy as np


def relative_buckets(
  offsets: np.ndarray,
  *,
  num_buckets: int,
  max_distance: int,
  both_sides: bool,
) -> np.ndarray:
  """Bucket of each offset p_key - p_query, int32 of the same shape.

  Args:
    offsets: integers; those above 0 (the future) share bucket 0 with offset 0
      unless both_sides.
    num_buckets: in all.
    max_distance: distances from here on share one bucket.
    both_sides: whether keys may follow their query.
  """
  future = np.zeros(offsets.shape, np.int32)
  if both_sides:
    num_buckets //= 2
    future = np.where(offsets > 0, num_buckets, 0)
    distance = np.abs(offsets)
  else:
    distance = np.maximum(-offsets, 0)
  exact = num_buckets // 2
  if exact < 1 or max_distance <= exact:
    raise ValueError(
      f"num_buckets={num_buckets} per side and max_distance={max_distance}:"
      " there must be 2 buckets per side or more, and max_distance must exceed"
      " half of them."
    )
  # float32, as in the reference: the boundaries depend on its rounding.
  ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
  growth = np.log(ratio) / np.log(np.float32(max_distance / exact))
  far = exact + (growth * (num_buckets - exact)).astype(np.int32)
  far = np.minimum(far, num_buckets - 1)
  return (future + np.where(distance < exact, distance, far)).astype(np.int32)
