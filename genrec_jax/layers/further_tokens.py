# SPDX-License-Identifier: Apache-2.0
"""Many tokens at once behind a cache: what is new of a history read before.

    h, cache = extend(x_BND, cache, info)      N more tokens of each row

They see the history and each other as in whole rows, and are among the shared
keys and values then: beams and candidates go on behind them as if all had been
read at once (`start`). It costs N (L + N) pairs a row instead of (L + N)^2, and
has them all in memory: what is much of a history is better read anew.

This is exact where nothing that is kept of a token depends on tokens behind it.
So a backbone says whether it `extends`, and there are no TARGETs here; a token
sees others behind it only by a limit of its own (ops/visible_keys.py), all of
which are then in one call: a prefix of CONTEXT is read whole.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.offers import offers
from genrec_jax.core.roles import CONTEXT, TARGET
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.cache import Cache, Caching, roles_limits
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues


@runtime_checkable
class Extending(Caching, Protocol):
  """A backbone that may go on with many tokens of a row at once.

  Attributes:
    extends: whether the backbone, as it is configured, can.
  """

  extends: bool

  def extend(
    self, x_BND: Float[Array, "B N D"], cache: Cache, info: SequenceInfo
  ) -> tuple[Float[Array, "B N D"], Cache]:
    """Hidden states of N more tokens of each row, and the cache with them.

    Args:
      x_BND: embedded tokens; those of segment 0 come last.
      cache: of `init_cache` or `start`, before any step; rows begin at their
        first place.
      info: of these tokens.
    """


def can_extend(backbone: Any) -> bool:
  """Whether a backbone goes on with many tokens at once."""
  return offers(backbone, Extending) and backbone.extends


def read_on(
  backbone: Any,
  x_BND: Float[Array, "B N D"],
  info: SequenceInfo,
  kept: Sequence[KeysValues],
  before: SequenceInfo | None,
  length: int = 0,
) -> tuple[Float[Array, "B N D"], Cache]:
  """Reads what is new of histories, or all of them.

  Args:
    backbone: that can be extended; where nothing is kept, one with a cache.
    x_BND: embedded tokens.
    info: of these.
    kept: keys and values of each layer, of the tokens before; () = none.
    before: of those tokens; None = there are none.
    length: tokens per beam that there is to be room for.

  Returns:
    Hidden states of the tokens, and a cache of all.
  """
  if before is None:
    return backbone.start(x_BND, info, length)
  cache = backbone.init_cache(x_BND.shape[0], length).behind(kept, before)
  return backbone.extend(x_BND, cache, info)


def seen_in_run(cache: Cache, info: SequenceInfo, window: int = 0) -> BeamKeys:
  """What new tokens of rows see: as ops/visible_keys.py says of whole rows.

  Args:
    cache: before any step; rows begin at their first place.
    info: of the new tokens.
    window: see ops/visible_keys.py.
  """
  history = cache.info
  _, count_B1, context_B1, _ = cache.history()
  role_BN, limit_BN = roles_limits(info)
  there_BN = info.valid_BL
  # Indices count a row's tokens: its history, then the new ones.
  index_BN = count_B1 + jnp.arange(there_BN.shape[1])[None]
  end_BN = jnp.where(limit_BN >= 0, limit_BN, index_BN)
  first_BN = jnp.zeros_like(end_BN)
  if window:
    new_context_BN = there_BN & (role_BN == CONTEXT)
    context_B1 = context_B1 + jnp.sum(new_context_BN, axis=1, keepdims=True)
    near_BN = ~new_context_BN & (end_BN - window >= context_B1)
    first_BN = jnp.where(near_BN, end_BN - window, 0)
  end_BN = jnp.where(there_BN, end_BN, 0)
  return BeamKeys(
    shared_first_BK=jnp.minimum(first_BN, count_B1),
    shared_end_BK=jnp.minimum(end_BN, count_B1),
    own_first_BK=None,
    own_end_BK=None,
    there_BK=there_BN,
    positions_BK=info.positions_BL,
    query_times_BK=info.query_times_BL,
    key_times_BK=info.key_times_BL,
    shared_positions_BL=None if history is None else history.positions_BL,
    shared_times_BL=None if history is None else history.key_times_BL,
    own_positions_BKT=None,
    own_times_BKT=None,
    run_first_BK=jnp.maximum(first_BN - count_B1, 0),
    run_end_BK=jnp.maximum(end_BN - count_B1, 0),
  )


def with_run(
  h_BND: Float[Array, "B N D"],
  cache: Cache,
  new: Sequence[KeysValues],
  info: SequenceInfo,
) -> tuple[Float[Array, "B N D"], Cache]:
  """What `extend` returns: hidden states, and the cache with the new tokens.

  Hidden states are NaN, as in layers/cache.py, of tokens that may not come
  here: TARGETs, and those that would see what is behind the last one.

  Args:
    h_BND: hidden states of new tokens.
    cache: that they came behind.
    new: their keys and values in each layer, (B, N, H, E).
    info: as in seen_in_run.
  """
  role_BN, limit_BN = roles_limits(info)
  _, count_B1, _, _ = cache.history()
  total_B1 = count_B1 + jnp.sum(
    info.valid_BL, axis=1, keepdims=True, dtype=jnp.int32
  )
  wrong_BN = (role_BN == TARGET) | (limit_BN > total_B1)
  wrong_BN = wrong_BN | ((role_BN == CONTEXT) & (limit_BN < 0))
  wrong_BN = wrong_BN & info.valid_BL
  h_BND = jnp.where(wrong_BN[:, :, None], jnp.nan, h_BND)
  if cache.info is None:
    return h_BND, cache.behind(new, info)
  length, more = cache.info.valid_BL.shape[1], info.valid_BL.shape[1]
  place_1M = jnp.arange(length + more)[None]
  # New tokens stand right behind a row's own, whatever its padding.
  index_BM = jnp.where(
    place_1M < count_B1, place_1M, length - count_B1 + place_1M
  )
  index_BM = jnp.minimum(index_BM, length + more - 1)

  def joined(old, value):
    both = jnp.concatenate([old, value.astype(old.dtype)], axis=1)
    index = jnp.expand_dims(index_BM, tuple(range(2, both.ndim)))
    return jnp.take_along_axis(both, index, axis=1)

  before = cache.info
  if info.roles_BL is not None or info.limits_BL is not None:
    before, info = _with_roles(before), _with_roles(info)
  whole = jax.tree.map(joined, before, info)
  there_BM = (place_1M < total_B1).astype(jnp.int32)
  whole = dataclasses.replace(whole, segment_ids_BL=there_BM)
  shared = jax.tree.map(joined, tuple(cache.shared), tuple(new))
  return h_BND, cache.behind(shared, whole)


def _with_roles(info: SequenceInfo) -> SequenceInfo:
  roles_BL, limits_BL = roles_limits(info)
  return dataclasses.replace(info, roles_BL=roles_BL, limits_BL=limits_BL)
