# SPDX-License-Identifier: Apache-2.0
"""A history encoder: events in groups, read by summaries and by candidates.

    tokens  = merge(events)                            layers/event_merge.py
    G_u     = [S_1 .. S_s ; W_u u]      learned summaries, and the user's token
    history = stack.encode(G_u, tokens)          once, backbones/cross_causal.py
    C       = [W_c c ; W_x x]          the candidate, and all that is told of it
    out     = [stack.read(history, C) ; G_u'; mean of the chosen tokens]

u is what is known of user and moment, c the candidate as events have it, x all
features together, "high-order" tokens of user and item (LONGER, arXiv
2505.04421, section 3.2; how many there are it does not say). The result is as
wide as its parts; who asks for it makes of it what is needed.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.backbones.cross_causal import CrossCausal, ReadHistory
from genrec_jax.core.option_checks import check_counts
from genrec_jax.layers.event_merge import EventMerge

_WHERE = "config.system.pooling"
_INIT_STD = 0.02


class MergedHistory(nn.Module):
  """See the module docstring.

  Attributes:
    merge: events -> tokens.
    stack: of the tokens' width.
    summaries: s.
    user_token: with W_u u, where it is given.
    cross_token: with W_x x.
    pool_tokens: with the mean of the chosen tokens.
    remat: computes merge and stack again in the backward pass.
    dtype: of the projections; parameters are float32.
  """

  merge: EventMerge
  stack: CrossCausal
  summaries: int = 1
  user_token: bool = True
  cross_token: bool = True
  pool_tokens: bool = False
  remat: bool = False
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, _WHERE, "summaries", least=0)
    if self.stack.width != self.merge.token_width:
      raise ValueError(
        f"{_WHERE}.stack.width={self.stack.width}, and tokens of"
        f" {self.merge.size} events of width {self.merge.width} are"
        f" {self.merge.token_width} wide: set it to that."
      )

    kept = self.stack.num_recent + self.stack.num_spread
    if self.pool_tokens and not kept:
      raise ValueError(
        f"{_WHERE}.pool_tokens=True, and stack keeps no token (num_recent=0,"
        " num_spread=0): their mean would be 0."
      )

  @property
  def history_group(self) -> int:
    """What the first event of a window must be a multiple of."""
    return self.merge.history_group

  @property
  def max_history(self) -> int:
    """Most events of a history."""
    return self.merge.num_positions

  def setup(self):
    width = self.stack.width
    if self.summaries:
      self.summary = self.param(
        "summary", nn.initializers.normal(_INIT_STD), (self.summaries, width)
      )
    self.user_in = nn.Dense(width, dtype=self.dtype)
    self.candidate_in = nn.Dense(width, dtype=self.dtype)
    self.cross_in = nn.Dense(width, dtype=self.dtype)

  def encode(
    self,
    events_BLE: Float[Array, "B L E"],
    seconds_BL: Int[Array, "B L"] | None,
    where_BL: Bool[Array, "B L"],
    user_BF: Float[Array, "B F"] | None,
    deterministic: bool,
  ) -> ReadHistory:
    """Reads histories.

    Args:
      events_BLE: oldest first, right padded.
      seconds_BL: how long ago they were; None = not told.
      where_BL: which are there.
      user_BF: what is known of user and moment; None = nothing.
      deterministic: no dropout.
    """

    def merged(merge, events, seconds, where):
      return merge(events, seconds, where)

    def encoded(stack, summaries, tokens, there):
      return stack.encode(summaries, tokens, there, deterministic)

    if self.remat:
      merged, encoded = nn.remat(merged), nn.remat(encoded)
    tokens, there = merged(self.merge, events_BLE, seconds_BL, where_BL)
    summaries = self._summaries(len(tokens), user_BF)
    return encoded(self.stack, summaries, tokens, there)

  def read(
    self,
    history: ReadHistory,
    candidate_BNE: Float[Array, "B N E"],
    told_BNF: Float[Array, "B N F"],
    deterministic: bool,
  ) -> Float[Array, "B N X"]:
    """What comes of candidates behind histories.

    Args:
      history: of `encode`.
      candidate_BNE: N candidates, as events have them.
      told_BNF: all that is told of each.
      deterministic: no dropout.
    """
    own = [self.candidate_in(candidate_BNE.astype(self.dtype))]
    if self.cross_token:
      own.append(self.cross_in(told_BNF.astype(self.dtype)))
    h = self.stack.read(history, jnp.stack(own, axis=2), deterministic)
    rows, number = h.shape[:2]
    shared = history.summaries_BUW.reshape(rows, 1, -1)
    if self.pool_tokens:
      count = jnp.sum(history.there_BK, axis=1, keepdims=True)
      total = jnp.sum(history.tokens_BKW, axis=1)
      mean = total / jnp.maximum(count, 1).astype(total.dtype)
      shared = jnp.concatenate([shared, mean[:, None]], axis=-1)
    shared = jnp.broadcast_to(shared, (rows, number, shared.shape[-1]))
    return jnp.concatenate([h.reshape(rows, number, -1), shared], axis=-1)

  def _summaries(self, rows: int, user_BF) -> Float[Array, "B U W"]:
    width = self.stack.width
    found = [jnp.zeros((rows, 0, width), self.dtype)]
    if self.summaries:
      learned = self.summary.astype(self.dtype)[None]
      shape = (rows, *learned.shape[1:])
      found.append(jnp.broadcast_to(learned, shape))
    if self.user_token and user_BF is not None:
      found.append(self.user_in(user_BF.astype(self.dtype))[:, None])
    return jnp.concatenate(found, axis=1)
