# SPDX-License-Identifier: Apache-2.0
"""Keys and values of tokens that were computed before, in fixed shapes.

    shared   (B, L, H, E) per layer    what a request's beams have in common
    own      (B, K, T, H, E)           what each has generated; end_BK in use

    cache    = init_cache(B, T)                     nothing read: K = 1, no L
    h, cache = start(x_BLD, info, T)                a history read at once
    h, cache = step(y_BKD, cache, info, parents)    a token more per beam

A backbone with these three methods (Caching) gives token by token what it gives
for whole rows. One sequence per row is a beam of its own. No shape depends on
how far a row is, so `step` may be the body of lax.scan or lax.while_loop with
the cache as carry; rows and beams that are done pass tokens of segment 0, which
leave no trace. Of many tokens of a row at once see layers/further_tokens.py.

A new token is an EVENT, which later ones see, or a TARGET, which sees the same
and is kept nowhere: candidates behind a history are K beams of one token.
Hidden states are NaN, for there is no error within a loop, where they could not
equal those of whole rows: after more than T tokens, for a CONTEXT token, and
for an event that an earlier token would have had to see.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import Dim, SequenceInfo
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
  """See the module docstring.

  Attributes:
    shared: keys and values of each layer; () where nothing was read.
    own: keys and values of each layer.
    info: of the shared keys, one history per row; None without any.
    positions_BKT: of own keys.
    times_BKT: seconds at which own keys happened.
    end_BK: tokens that each beam has generated. More than T: some are lost.
  """

  shared: tuple[KeysValues, ...]
  own: tuple[KeysValues, ...]
  info: SequenceInfo | None
  positions_BKT: Any
  times_BKT: Any
  end_BK: Any

  @classmethod
  def empty(
    cls,
    batch: Dim,
    length: int,
    num_layers: int,
    num_heads: int,
    widths: tuple[int, int],
    dtype: str,
  ) -> "Cache":
    """Room for `length` tokens a row.

    Args:
      batch: B.
      length: T.
      num_layers: of the backbone.
      num_heads: H.
      widths: of a head's keys and of its values.
      dtype: of both.
    """
    own = tuple(
      jnp.zeros((batch, 1, length, num_heads, width), dtype) for width in widths
    )
    none_BKT = jnp.zeros((batch, 1, length), jnp.int32)
    return cls(
      shared=(),
      own=(own,) * num_layers,
      info=None,
      positions_BKT=none_BKT,
      times_BKT=none_BKT,
      end_BK=jnp.zeros((batch, 1), jnp.int32),
    )

  def behind(self, shared: Sequence[KeysValues], info: SequenceInfo) -> "Cache":
    """The same places behind histories.

    Args:
      shared: keys and values of each layer.
      info: one history per row, contiguous; padding before or after it.
    """
    return dataclasses.replace(self, shared=tuple(shared), info=info)

  def layer(self, index: int) -> tuple[KeysValues | None, KeysValues]:
    """Shared and own keys and values of a layer."""
    return self.shared[index] if self.shared else None, self.own[index]

  def behind_context(self) -> "Cache":
    """The cache; a ValueError where no context was read into it."""
    if not self.shared:
      raise ValueError(
        "there is nothing to attend to: take a cache of `start`."
      )
    return self

  def follow(
    self, parents_BK: Int[Array, "B K"] | None, num_beams: int
  ) -> "Cache":
    """The cache of K beams that go on from these; None: each from itself.

    Raises:
      ValueError: another number of beams, and no parents.
    """
    before = self.end_BK.shape[1]
    if parents_BK is None:
      if before != num_beams:
        raise ValueError(
          f"{num_beams} tokens a row behind {before} beams: say by parents_BK"
          " which beam each one goes on from."
        )
      return self

    def pick(x):
      index = jnp.expand_dims(parents_BK, tuple(range(2, x.ndim)))
      return jnp.take_along_axis(x, index, axis=1)

    own, positions, times, end = jax.tree.map(
      pick, (self.own, self.positions_BKT, self.times_BKT, self.end_BK)
    )
    return dataclasses.replace(
      self, own=own, positions_BKT=positions, times_BKT=times, end_BK=end
    )

  def seen(
    self, info: SequenceInfo, window: int = 0, full: int = 0
  ) -> BeamKeys:
    """What new tokens see: as ops/visible_keys.py says of whole rows.

    Args:
      info: of new tokens, (B, K), or (B, 1) where it is the same in all beams.
      window: see ops/visible_keys.py.
      full: see ops/visible_keys.py.
    """
    history = self.info
    start_B1, count_B1, context_B1, _ = self.history()
    role_BK, limit_BK = roles_limits(info)
    # Indices count a row's tokens: its history, then what was generated.
    before_BK = count_B1 + self.end_BK
    end_BK = jnp.where(limit_BK >= 0, limit_BK, before_BK)
    first_BK = jnp.zeros_like(end_BK)
    if window:
      near_BK = end_BK - window >= context_B1
      if full:
        events_end_BK = before_BK + (role_BK != TARGET)
        near_BK = near_BK & (end_BK < events_end_BK - full)
      first_BK = jnp.where(near_BK, end_BK - window, 0)
    there_BK = jnp.broadcast_to(info.valid_BL, before_BK.shape)
    end_BK = jnp.where(there_BK, end_BK, 0)
    generated_BK = jnp.minimum(self.end_BK, end_BK - count_B1)
    return BeamKeys(
      shared_first_BK=start_B1 + jnp.minimum(first_BK, count_B1),
      shared_end_BK=start_B1 + jnp.minimum(end_BK, count_B1),
      own_first_BK=jnp.maximum(first_BK - count_B1, 0),
      own_end_BK=jnp.maximum(generated_BK, 0),
      there_BK=there_BK,
      positions_BK=info.positions_BL,
      query_times_BK=info.query_times_BL,
      key_times_BK=info.key_times_BL,
      shared_positions_BL=None if history is None else history.positions_BL,
      shared_times_BL=None if history is None else history.key_times_BL,
      own_positions_BKT=self.positions_BKT,
      own_times_BKT=self.times_BKT,
    )

  def then(
    self,
    h_BKD: Float[Array, "B K D"],
    new: Sequence[KeysValues],
    info: SequenceInfo,
    causal: bool = True,
  ) -> tuple[Float[Array, "B K D"], "Cache"]:
    """What a step returns: hidden states, and the cache with the new events.

    Args:
      h_BKD: hidden states of new tokens.
      new: their keys and values in each layer, (B, K, H, E).
      info: as in `seen`.
      causal: whether what an event sees is the same whatever follows.
    """
    length = self.positions_BKT.shape[2]
    role_BK, limit_BK = roles_limits(info)
    there_BK = jnp.broadcast_to(info.valid_BL, self.end_BK.shape)
    event_BK = there_BK & (role_BK == EVENT)
    _, count_B1, _, ahead_B1 = self.history()
    wrong_BK = (self.end_BK > length) | (role_BK == CONTEXT)
    wrong_BK = wrong_BK | (limit_BK > count_B1 + self.end_BK)
    wrong_BK = wrong_BK | (event_BK & (ahead_B1 if causal else True))
    h_BKD = jnp.where((wrong_BK & there_BK)[:, :, None], jnp.nan, h_BKD)
    # A place beyond the last: dropped.
    place_BK = jnp.where(event_BK, self.end_BK, length)

    def put(old, value):
      if not length:
        return old
      value = jnp.broadcast_to(value, (*place_BK.shape, *value.shape[2:]))
      one = jax.vmap(lambda x, p, y: x.at[p].set(y, mode="drop"))
      return jax.vmap(one)(old, place_BK, value.astype(old.dtype))

    return h_BKD, dataclasses.replace(
      self,
      own=jax.tree.map(put, self.own, tuple(new)),
      positions_BKT=put(self.positions_BKT, info.positions_BL),
      times_BKT=put(self.times_BKT, info.key_times_BL),
      end_BK=self.end_BK + event_BK,
    )

  def history(self) -> tuple[Array, Array, Array, Array]:
    """Of each row's history where it starts, its tokens, how many of them are
    context, and whether one of them would see an event that follows."""
    if self.info is None:
      none_B1 = jnp.zeros_like(self.end_BK[:, :1])
      return none_B1, none_B1, none_B1, none_B1 > 0
    role_BL, limit_BL = roles_limits(self.info)
    kept_BL = self.info.valid_BL & (role_BL != TARGET)

    def count(where_BL):
      return jnp.sum(where_BL, axis=1, keepdims=True, dtype=jnp.int32)

    start_B1 = jnp.argmax(kept_BL, axis=1, keepdims=True).astype(jnp.int32)
    context_BL = kept_BL & (role_BL == CONTEXT)
    count_B1 = count(kept_BL)
    ahead_BL = (context_BL & (limit_BL < 0)) | (limit_BL > count_B1)
    ahead_B1 = jnp.any(kept_BL & ahead_BL, axis=1, keepdims=True)
    return start_B1, count_B1, count(context_BL), ahead_B1


@runtime_checkable
class Caching(Protocol):
  """A backbone that can go on from where it was."""

  def init_cache(self, batch: Dim, length: int) -> Cache:
    """Room for `length` tokens a row, behind nothing."""

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, length: int
  ) -> tuple[Float[Array, "B L D"], Cache]:
    """Reads whole rows, one history each.

    Returns:
      Hidden states, and a cache with room for `length` tokens per beam.
    """

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: Cache,
    info: SequenceInfo,
    parents_BK: Int[Array, "B K"] | None = None,
  ) -> tuple[Float[Array, "B K D"], Cache]:
    """Hidden states of one more token per beam, and the cache with it.

    Args:
      y_BKD: embedded tokens.
      cache: of `init_cache`, of `start`, or of the step before.
      info: of these tokens, (B, K), or (B, 1) for all beams of a row.
      parents_BK: the beam before that each one goes on from; None: itself.
    """


def roles_limits(info: SequenceInfo) -> tuple[Array, Array]:
  """Roles and limits, which may be left out."""
  segments = info.segment_ids_BL
  roles, limits = info.roles_BL, info.limits_BL
  return (
    jnp.full_like(segments, EVENT) if roles is None else roles,
    jnp.full_like(segments, -1) if limits is None else limits,
  )
