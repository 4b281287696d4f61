# SPDX-License-Identifier: Apache-2.0
"""Attention of one new token per beam: over shared keys, own keys, and itself.

    y_bk = attend(q_bk, [shared_b ; own_bk ; new_bk])

The history of a request (or an encoder's output) is the same for all of its
beams, so its keys and values are kept once per request and read by K queries at
a time; what a beam has generated is kept per beam, in T places of which the
first few are in use. The new token's own key is no part of either yet. Shapes
do not depend on how much was generated, so a step can be the body of a loop.

New tokens may be a run instead, K that follow each other in one row: then each
sees an interval of them besides.

Weights are softmax over all three parts, or SiLU, where the parts add up. With
softmax, keys and values may have fewer heads than queries (G serve H, as in
ops/target_attention.py).
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention.chunked import chunked
from genrec_jax.ops.silu_attention.rows import Rows
from genrec_jax.ops.visible_keys import VisibleKeys

# Of a request: (B, M, H, E) each. Of beams: (B, K, M, H, E) or, of one token,
# (B, K, H, E). Widths of keys and values may differ, and a part's number of
# heads from that of queries.
KeysValues = tuple[Float[Array, "B ... _ _"], Float[Array, "B ... _ _"]]


@runtime_checkable
class PairBias(Protocol):
  """What is added to scores, by pair: ops/relative_bias.BiasTables is one."""

  def of_pairs(
    self, offset: Int[Array, "..."], seconds: Int[Array, "..."] | None
  ) -> Float[Array, "..."] | None:
    """(#B, #H, K, M) of p_j - p_i and t_i - t_j, each (#B, K, M)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BeamKeys:
  """Which keys beams see, and what biases need to know of them.

  Intervals are int32 (B, K), indices into the places of a part; what is of a
  new token is (B, K), or (B, 1) where it is the same in all beams.

  Attributes:
    shared_first_BK: start of the interval of shared keys.
    shared_end_BK: its end (exclusive).
    own_first_BK: start of the interval of own keys.
    own_end_BK: its end (exclusive).
    there_BK: whether there is a new token; none sees nothing.
    positions_BK: of new tokens.
    query_times_BK: seconds that they ask about.
    key_times_BK: seconds at which they happened.
    shared_positions_BL: of shared keys; None without any.
    shared_times_BL: likewise.
    own_positions_BKT: of own keys.
    own_times_BKT: likewise.
    run_first_BK: start of the interval of the run's keys; None where new tokens
      are no run.
    run_end_BK: its end (exclusive).
  """

  shared_first_BK: Any
  shared_end_BK: Any
  own_first_BK: Any
  own_end_BK: Any
  there_BK: Any
  positions_BK: Any
  query_times_BK: Any
  key_times_BK: Any
  shared_positions_BL: Any
  shared_times_BL: Any
  own_positions_BKT: Any
  own_times_BKT: Any
  run_first_BK: Any = None
  run_end_BK: Any = None

  def of_shared(self) -> tuple[Bool[Array, "B K L"], Array, Array]:
    """Mask, p_j - p_i and t_i - t_j of the shared keys."""
    positions, times = self.shared_positions_BL, self.shared_times_BL
    return (
      _within(self.shared_first_BK, self.shared_end_BK, positions.shape[-1]),
      positions[:, None, :] - self.positions_BK[:, :, None],
      self.query_times_BK[:, :, None] - times[:, None, :],
    )

  def of_own(self) -> tuple[Bool[Array, "B K T"], Array, Array]:
    """The same of own keys."""
    positions, times = self.own_positions_BKT, self.own_times_BKT
    return (
      _within(self.own_first_BK, self.own_end_BK, positions.shape[-1]),
      positions - self.positions_BK[:, :, None],
      self.query_times_BK[:, :, None] - times,
    )

  def of_new(self) -> tuple[Bool[Array, "B K M"], Array, Array]:
    """The same of each new token's own key (M = 1), or of a run's (M = K)."""
    if self.run_end_BK is None:
      seconds_BK = self.query_times_BK - self.key_times_BK
      return (
        self.there_BK[:, :, None],
        jnp.zeros_like(self.positions_BK)[:, :, None],
        seconds_BK[:, :, None],
      )
    count, positions = self.there_BK.shape[1], self.positions_BK
    seen_BKK = _within(self.run_first_BK, self.run_end_BK, count)
    seen_BKK = seen_BKK | jnp.eye(count, dtype=bool)[None]
    there_BKK = self.there_BK[:, :, None] & self.there_BK[:, None, :]
    return (
      seen_BKK & there_BKK,
      positions[:, None, :] - positions[:, :, None],
      self.query_times_BK[:, :, None] - self.key_times_BK[:, None, :],
    )

  def rows(self, normalizer: float) -> Rows:
    """New tokens as queries of rows of shared keys."""
    first, end = self.shared_first_BK, self.shared_end_BK
    positions, times = self.shared_positions_BL, self.shared_times_BL

    def each(x_BK):
      return jnp.broadcast_to(x_BK, first.shape)

    # No query has a key of its own here: one within the interval adds none.
    own = jnp.where(end > first, first, -1)
    return Rows(
      visible=VisibleKeys(first, end, own),
      weight_BQ=jnp.where(own >= 0, jnp.float32(1 / normalizer), 0.0),
      query_positions_BQ=each(self.positions_BK),
      key_positions_BM=positions,
      query_times_BQ=each(self.query_times_BK),
      key_times_BM=times,
      segments_BM=jnp.ones_like(positions),
      aligned=False,
    )


def softmax_beam_attention(
  q_BKHE: Float[Array, "B K H E"],
  shared: KeysValues | None,
  own: KeysValues | None,
  new: KeysValues | None,
  keys: BeamKeys,
  *,
  bias: PairBias | None = None,
  scale: float = 1.0,
) -> Float[Array, "B K H A"]:
  """Softmax attention over the parts that are given; 0 where nothing is seen.

  Args:
    q_BKHE: one query per beam.
    shared: keys and values of the request, (B, L, H, E); None for none.
    own: of what beams have generated, (B, K, T, H, E).
    new: of the new tokens, (B, K, H, E).
    keys: which of them a beam sees.
    bias: added to the scores.
    scale: multiplies q k^T.
  """
  parts = _dense_parts(own, new, keys)
  if shared is not None:
    parts = [(shared, *keys.of_shared()), *parts]
  scores = [
    _scores(q_BKHE, k, offset, seconds, bias, scale)
    for (k, _), _, offset, seconds in parts
  ]
  masks = [
    jnp.broadcast_to(mask[:, :, None], s.shape)
    for (_, mask, _, _), s in zip(parts, scores, strict=True)
  ]
  mask = jnp.concatenate(masks, axis=-1)
  # A finite floor: what sees nothing gets uniform weights, which the second
  # mask removes, and not NaN.
  floor = jnp.finfo(jnp.float32).min
  weights = jax.nn.softmax(
    jnp.where(mask, jnp.concatenate(scores, axis=-1), floor)
  )
  weights = jnp.where(mask, weights, 0)
  ends = [sum(m.shape[-1] for m in masks[: i + 1]) for i in range(len(masks))]
  split = jnp.split(weights, ends[:-1], axis=-1)
  total = sum(
    _weighted(w, v) for w, ((_, v), *_) in zip(split, parts, strict=True)
  )
  return total.astype(parts[0][0][1].dtype)


def silu_beam_attention(
  q_BKHE: Float[Array, "B K H E"],
  shared: KeysValues | None,
  own: KeysValues | None,
  new: KeysValues,
  keys: BeamKeys,
  *,
  normalizer: float,
  bias: BiasTables | None = None,
  scale: float = 1.0,
) -> Float[Array, "B K H A"]:
  """SiLU(scale q k^T + bias) / normalizer as weights; see softmax's form.

  Shared keys are read in blocks, like those of rows: memory is linear in their
  number.
  """
  bias = BiasTables() if bias is None else bias
  bias.check(q_BKHE.shape[2])
  total = 0
  for (k, v), mask, offset, seconds in _dense_parts(own, new, keys):
    scores = _scores(q_BKHE, k, offset, seconds, bias, scale)
    weights = jnp.where(mask[:, :, None], jax.nn.silu(scores) / normalizer, 0)
    total = total + _weighted(weights, v)
  if shared is not None:
    total = total + chunked(q_BKHE, *shared, keys.rows(normalizer), bias, scale)
  return total.astype(new[1].dtype)


def _dense_parts(own, new, keys: BeamKeys):
  """Own keys and new ones: ((keys, values), mask, offset, seconds)."""
  parts = []
  if own is not None:
    parts.append((own, *keys.of_own()))
  if new is not None:
    # A run's keys are all of its row's, like shared ones.
    if keys.run_end_BK is None:
      new = tuple(x[:, :, None] for x in new)
    parts.append((new, *keys.of_new()))
  return parts


def _scores(q_BKHE, k, offset, seconds, bias, scale):
  """(B, K, H, M) in float32."""
  if k.shape[-2] != q_BKHE.shape[2]:
    of = "bmge" if k.ndim == 4 else "bkmge"
    scores = jnp.einsum(f"bkgre,{of}->bkgrm", _grouped(q_BKHE, k), k)
    scores = scores.reshape(*q_BKHE.shape[:3], -1)
  else:
    of = "bmhe" if k.ndim == 4 else "bkmhe"
    scores = jnp.einsum(f"bkhe,{of}->bkhm", q_BKHE, k)
  scores = scores.astype(jnp.float32) * scale
  added = None if bias is None else bias.of_pairs(offset, seconds)
  return scores if added is None else scores + jnp.swapaxes(added, 1, 2)


def _weighted(weights, v):
  """Sums of values (B, K, H, A) in float32: parts are added before rounding."""
  weights = weights.astype(v.dtype)
  if v.shape[-2] == weights.shape[2]:
    of = "bmha" if v.ndim == 4 else "bkmha"
    return jnp.einsum(
      f"bkhm,{of}->bkha", weights, v, preferred_element_type=jnp.float32
    )
  of = "bmga" if v.ndim == 4 else "bkmga"
  total = jnp.einsum(
    f"bkgrm,{of}->bkgra",
    _grouped(weights, v),
    v,
    preferred_element_type=jnp.float32,
  )
  return total.reshape(*weights.shape[:3], -1)


def _grouped(x_BKHE, k):
  """(B, K, G, H / G, E): each head of keys with the queries it serves."""
  rows, beams, heads, width = x_BKHE.shape
  return x_BKHE.reshape(rows, beams, k.shape[-2], heads // k.shape[-2], width)


def _within(first_BK, end_BK, length):
  """(B, K, length): whether a place lies in each interval."""
  index = jnp.arange(length)[None, None, :]
  return (index >= first_BK[:, :, None]) & (index < end_BK[:, :, None])
