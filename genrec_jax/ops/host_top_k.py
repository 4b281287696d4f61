# SPDX-License-Identifier: Apache-2.0
"""Exact top-k of query-item scores where devices are the host's own cores.

XLA computes a block of scores (ops/top_k.py) and the largest of each of some
groups of items. The k-th largest of those is reached by k scores at least, so
only what reaches it can be among the k best. These few are sorted by keys of 64
bits, by NumPy:

    key = descending order of the score (32 bits), item index (32 bits)

which is the order of ops/top_k.py: score descending, then lower item index.
A sort that XLA makes of whole rows takes about four times as long on a CPU.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32, UInt64
import numpy as np

from genrec_jax.ops.top_k import block_scores

# Items of a group, far apart: neighbours are often of one popularity.
_GROUP = 16
_NOTHING = np.uint64(2**64 - 1)
_SIGN = np.uint32(2**31)
_LEAST = np.finfo(np.float32).min


def host_top_k(
  query_BD: Float[Array, "B D"],
  items_ND: Float[Array, "N D"],
  allowed_BW: UInt32[Array, "B W"] | UInt32[np.ndarray, "B W"] | None,
  *,
  k: int,
  num_valid: int,
  block: int,
) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
  """As sharded_top_k of one device, on the host.

  Args:
    query_BD: queries on a device of the CPU.
    items_ND: item vectors there; row 0 is the pad.
    allowed_BW: bits of the items that each row may get; None = all.
    k: places; may exceed N.
    num_valid: items from this index on are never returned.
    block: items scored at once.
  """
  num_rows = items_ND.shape[0]
  block = min(block, num_rows)
  best_BK = np.full((query_BD.shape[0], k), _NOTHING)
  for index in range(-(-num_rows // block)):
    scores_Bn, highest_BG = _scores(
      query_BD, items_ND, allowed_BW, index, num_valid=num_valid, block=block
    )
    start = min(index * block, num_rows - block)
    best_BK = _better(
      best_BK, np.asarray(scores_Bn), np.asarray(highest_BG), start
    )
  ids_BK, scores_BK = _read(best_BK)
  return ids_BK, scores_BK


@functools.partial(jax.jit, static_argnames=("num_valid", "block"))
def _scores(query_BD, items_ND, allowed_BW, index, *, num_valid, block):
  """Scores of a block of items, and the largest of each group."""
  scores_Bn, _ = block_scores(
    query_BD,
    items_ND,
    index,
    block=block,
    num_valid=num_valid,
    allowed_BW=allowed_BW,
  )
  missing = -block % _GROUP
  groups = jnp.pad(scores_Bn, ((0, 0), (0, missing)), constant_values=-jnp.inf)
  return scores_Bn, groups.reshape(len(groups), _GROUP, -1).max(axis=1)


def _better(
  best_BK: UInt64[np.ndarray, "B K"],
  scores_Bn: Float[np.ndarray, "B n"],
  highest_BG: Float[np.ndarray, "B G"],
  start: int,
) -> UInt64[np.ndarray, "B K"]:
  """The best keys so far and of a block of scores; row n is item start + n."""
  rows, k = best_BK.shape
  floor_B = _decode(best_BK[:, -1])
  groups = highest_BG.shape[1]
  if groups >= k:
    kth_B = np.partition(highest_BG, groups - k, axis=1)[:, groups - k]
    floor_B = np.maximum(floor_B, kth_B)
  # Of -inf nothing is returned.
  floor_B = np.maximum(floor_B, _LEAST)
  place = np.flatnonzero(scores_Bn >= floor_B[:, None])
  row, column = np.divmod(place, scores_Bn.shape[1])
  counts_B = np.bincount(row, minlength=rows)
  keys = _encode(scores_Bn.reshape(-1)[place]) << np.uint64(32)
  keys |= (start + column).astype(np.uint64)
  table = np.full((rows, k + int(counts_B.max(initial=0))), _NOTHING)
  table[:, :k] = best_BK
  first_B = np.cumsum(counts_B) - counts_B
  table[row, k + np.arange(len(row)) - first_B[row]] = keys
  table.sort(axis=1)
  return np.ascontiguousarray(table[:, :k])


def _read(
  keys_BK: UInt64[np.ndarray, "B K"],
) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
  found_BK = keys_BK != _NOTHING
  ids_BK = keys_BK.astype(np.uint32).view(np.int32)
  return np.where(found_BK, ids_BK, 0), _decode(keys_BK)


def _encode(scores: Float[np.ndarray, "n"]) -> UInt64[np.ndarray, "n"]:
  """32 bits that ascend as the scores, neither NaN nor -0.0, descend."""
  return _flip(scores.view(np.uint32)).astype(np.uint64)


def _decode(keys: UInt64[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
  """The score of a key; -inf of none."""
  bits = _flip((keys >> np.uint64(32)).astype(np.uint32))
  scores = bits.view(np.float32)
  return np.where(keys == _NOTHING, np.float32(-np.inf), scores)


def _flip(bits: UInt32[np.ndarray, "..."]) -> UInt32[np.ndarray, "..."]:
  negative: Bool[np.ndarray, "..."] = bits >= _SIGN
  return np.where(negative, bits, ~bits & ~_SIGN)
