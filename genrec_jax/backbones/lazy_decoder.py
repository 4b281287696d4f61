# SPDX-License-Identifier: Apache-2.0
"""A decoder of few tokens over a context that no layer of its own reads.

    context   tokens of events -> keys and values, once (layers/context_keys.py)
    decoder   y + CrossAttention(y; k_j, v_j), y + SelfAttention(y), y + FFN(y)
              causal; layer i of n reads set j = floor(i num_sets / n)

RMSNorm before every part, one of its own per position at the end, no biases.
Cross-attention has queries and an output alone. So what a target costs hardly
depends on the length of its context, and what an event is to the decoder does
not depend on other events: all targets of a history can be trained behind one
reading of it, each with the events before it (`within_BS`). The first slots of
a history, such as the user's own, may be seen by all of them (`head_slots`).
Feed-forward parts may be mixtures of experts, from some layer on.

OneRec-V2 (arXiv 2508.20900, sections 2 and 3); initial scales and scores that
are not divided by sqrt(E) are T5's, as of the other decoders here. The source
gives keys no positions and says nothing of self-attention's groups; a bias by
how many events ago a key was (`recency_buckets`) is an addition.

Shapes: B rows, L tokens of a row, N events or tokens of context, S targets of
a row, M tokens of a target, K beams, D width, H heads of E, G heads of keys.
"""

import dataclasses

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Dim, SequenceInfo
from genrec_jax.layers import context_keys, transformer
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.context_keys import ContextKeys
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.expert_feed_forward import below, feed
from genrec_jax.layers.routers import Routed
from genrec_jax.layers.transformer import Heads, PositionWise, RelativeBuckets
from genrec_jax.ops.beam_attention import softmax_beam_attention
from genrec_jax.ops.target_attention import attend_before, attend_context


class LazyDecoder(nn.Module):
  """See the module docstring.

  Attributes:
    width: D.
    num_layers: of the decoder.
    num_heads: H, of queries.
    head_width: E.
    ffn: the feed-forward part, of which every layer has one of its own.
    target_tokens: M.
    num_key_heads: G, of the context; H is a multiple.
    num_sets: of keys and values, from 1 (all layers share it) to num_layers.
    shared_values: values of the context are its keys.
    self_key_heads: of self-attention; None = H.
    join_events: M tokens of a row are an event, one token of context; else
      each is one. Rows must then hold events alone.
    event_width: hidden width of the dense layers that make the context's
      tokens; 0 = they are projected as they are.
    recency_buckets: of the bias in cross-attention, by distance from where
      what a target sees ends; 0 = none, context is a set.
    max_distance: farther events share a bucket.
    head_slots: first tokens of context of a history that every target sees,
      whatever else it does.
    first_ffn: the part of the first layers; None = `ffn`.
    num_first: of these layers.
    dropout: on both inputs, and on what each part adds.
    dtype: of the matrix products; parameters are float32.
  """

  width: int
  num_layers: int
  num_heads: int
  head_width: int
  ffn: PositionWise
  target_tokens: int
  num_key_heads: int = 1
  num_sets: int = 1
  shared_values: bool = True
  self_key_heads: int | None = None
  join_events: bool = True
  event_width: int = 0
  recency_buckets: int = 0
  max_distance: int = 128
  head_slots: int = 0
  first_ffn: PositionWise | None = None
  num_first: int = 0
  dropout: float = 0.0
  dtype: str = "float32"

  uses_time = False
  shares_history = True

  def __post_init__(self):
    super().__post_init__()
    where = "config.system.backbone"
    check_counts(self, where, "target_tokens", "num_key_heads", "num_sets")
    names = ("event_width", "recency_buckets", "head_slots", "num_first")
    check_counts(self, where, *names, least=0)
    if (self.first_ffn is None) != (self.num_first == 0):
      raise ValueError(
        f"{where}.num_first={self.num_first} layers have the feed-forward part"
        f" first_ffn, which is {'not ' * (self.first_ffn is None)}given."
      )
    if self.num_sets > self.num_layers:
      raise ValueError(
        f"{where}.num_sets={self.num_sets}: {self.num_layers} layers read no"
        " more sets of keys and values than that."
      )
    for name in ("num_key_heads", "self_key_heads"):
      heads = vars(self)[name]
      if heads is not None and (heads < 1 or self.num_heads % heads):
        raise ValueError(
          f"{where}.{name}={heads} must divide num_heads={self.num_heads}."
        )

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    ffns = {"ffns_*": self.ffn}
    first = {f"ffns_{i}": self.first_ffn for i in range(self.num_first)}
    return {
      **context_keys.LOGICAL_AXES,
      # A layer by its number is looked for before all.
      **{
        f"{layer}/{k}": axes
        for layer, ffn in {**first, **ffns}.items()
        for k, axes in ffn.logical_axes.items()
      },
      "recency_bias/embedding": (None, None),
      **transformer.LOGICAL_AXES,
    }

  def setup(self):
    def heads(key_heads):
      return [
        Heads(
          self.width, self.num_heads, self.head_width, self.dtype, key_heads
        )
        for _ in range(self.num_layers)
      ]

    self.context = ContextKeys(
      self.width,
      self.num_sets,
      self.num_key_heads,
      self.head_width,
      self.shared_values,
      self.event_width,
      self.dtype,
    )
    # Keys and values of the former are never asked for: it has no such
    # matrices.
    self.cross_attention = heads(None)
    self.self_attention = heads(self.self_key_heads)
    # Whole copies: a part of a part, such as experts, is each layer's own.
    self.ffns = [
      (self.first_ffn if i < self.num_first else self.ffn).copy()
      for i in range(self.num_layers)
    ]
    self.norms = [
      nn.RMSNorm(dtype=self.dtype) for _ in range(3 * self.num_layers)
    ]
    self.final_norm = nn.RMSNorm(use_scale=False, dtype=self.dtype)
    self.final_scale = self.param(
      "final_scale",
      nn.initializers.ones,
      (self.target_tokens, self.width),
      jnp.float32,
    )
    if self.recency_buckets:
      self.recency_bias = RelativeBuckets(
        self.num_heads, self.recency_buckets, self.max_distance
      )
    self.drop = Dropout(self.dropout)

  def encode(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, deterministic: bool
  ) -> Float[Array, "B N C"]:
    """Packed rows -> keys and values that the decoder attends to.

    Raises:
      ValueError: rows that are no whole number of events.
    """
    del info
    rows, length, width = x_BLD.shape
    if length % self._per_event:
      raise ValueError(
        f"rows of {length} tokens are no whole number of events of"
        f" {self._per_event}: change config.pipeline.row_length, leave out a"
        " user's token, or set config.system.backbone.join_events=False."
      )
    x_BLD = self.drop(x_BLD, deterministic=deterministic)
    x_BNW = x_BLD.reshape(rows, -1, self._per_event * width)
    return self.context(x_BNW)

  def decode(
    self,
    y_BSMD: Float[Array, "B S M D"],
    segment_BS: Int[Array, "B S"],
    memory_BNC: Float[Array, "B N C"],
    info: SequenceInfo,
    deterministic: bool,
    within_BS: tuple[Int[Array, "B S"], Int[Array, "B S"]] | None = None,
  ) -> Float[Array, "B S M D"]:
    """The hidden states of decode_routed."""
    return self.decode_routed(
      y_BSMD, segment_BS, memory_BNC, info, deterministic, within_BS=within_BS
    )[0]

  def decode_routed(
    self,
    y_BSMD: Float[Array, "B S M D"],
    segment_BS: Int[Array, "B S"],
    memory_BNC: Float[Array, "B N C"],
    info: SequenceInfo,
    deterministic: bool,
    there_BSM: Bool[Array, "B S M"] | None = None,
    within_BS: tuple[Int[Array, "B S"], Int[Array, "B S"]] | None = None,
  ) -> tuple[Float[Array, "B S M D"], list[Routed]]:
    """Hidden states of all targets, each token after those before it.

    Args:
      y_BSMD: embedded inputs of the decoder.
      segment_BS: segment that each target belongs to; 0 = none.
      memory_BNC: of `encode`.
      info: of the encoder's rows.
      deterministic: no dropout.
      there_BSM: real tokens; None = all of those of a segment. Others take no
        expert.
      within_BS: first and end (exclusive) of the tokens of its segment that
        each target sees; None = all.

    Returns:
      Hidden states, and how layers routed tokens, of those that do.

    Raises:
      ValueError: targets of another number of tokens.
    """
    if y_BSMD.shape[2] != self.target_tokens:
      raise ValueError(
        f"config.system.backbone.target_tokens={self.target_tokens}, and"
        f" targets have {y_BSMD.shape[2]}: it is the number of an item's codes."
      )
    sees_BSN, added_BHSN = self._seen(segment_BS, info, within_BS)
    real_BSM = jnp.broadcast_to((segment_BS > 0)[:, :, None], y_BSMD.shape[:3])
    if there_BSM is not None:
      real_BSM = real_BSM & there_BSM
    sets, found = self.context.sets(memory_BNC), []
    h = self.drop(y_BSMD, deterministic=deterministic)
    for i, ffn in enumerate(self.ffns):
      attention = self.cross_attention[i]
      q = attention.queries(self.norms[3 * i](h))
      y = attend_context(q, *sets[self._set_of(i)], sees_BSN, added_BHSN)
      h = h + self.drop(attention.merge(y), deterministic=deterministic)
      attention = self.self_attention[i]
      z = self.norms[3 * i + 1](h)
      y = attend_before(attention.queries(z), *attention.keys_values(z))
      h = h + self.drop(attention.merge(y), deterministic=deterministic)
      z = self.norms[3 * i + 2](h)
      y, routed = feed(ffn, z, real_BSM, deterministic)
      if routed is not None:
        found.append(below(f"ffns_{i}", routed))
      h = h + self.drop(y, deterministic=deterministic)
    return self._ended(h, jnp.arange(self.target_tokens)[None, None]), found

  def init_cache(self, batch: Dim, length: int) -> Cache:
    """See layers/cache.py, as of the two methods that follow."""
    heads = self.self_key_heads or self.num_heads
    widths = (self.head_width, self.head_width)
    return Cache.empty(
      batch, length, self.num_layers, heads, widths, self.dtype
    )

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, length: int
  ) -> tuple[Float[Array, "B N C"], Cache]:
    """What `encode` gives, and the cache before any token is written.

    Its shared keys and values are the sets of the context.
    """
    memory_BNC = self.encode(x_BLD, info, True)
    sets, events = self.context.sets(memory_BNC), self._events(info)
    events = dataclasses.replace(events, positions_BL=self._places(events))
    cache = self.init_cache(x_BLD.shape[0], length).behind(sets, events)
    return memory_BNC, cache

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: Cache,
    info: SequenceInfo,
    parents_BK: Int[Array, "B K"] | None = None,
  ) -> tuple[Float[Array, "B K D"], Cache]:
    """Hidden states of one more token of each beam, and the cache with it.

    Positions of `info` count the tokens that are written.

    Raises:
      ValueError: a cache that nothing was read into.
    """
    cache = cache.behind_context().follow(parents_BK, y_BKD.shape[1])
    keys = cache.seen(info)
    # Recency counts from where the history ends.
    count_B1 = jnp.sum(cache.info.valid_BL, axis=1, keepdims=True)
    behind = dataclasses.replace(keys, positions_BK=count_B1)
    recency = self.recency_bias if self.recency_buckets else None
    real_BK = jnp.broadcast_to(info.valid_BL, y_BKD.shape[:2])
    h, new = y_BKD, []
    for i, ffn in enumerate(self.ffns):
      attention = self.cross_attention[i]
      q = attention.queries(self.norms[3 * i](h))
      read = cache.shared[self._set_of(i)]
      y = softmax_beam_attention(q, read, None, None, behind, bias=recency)
      h = h + attention.merge(y)
      attention = self.self_attention[i]
      z = self.norms[3 * i + 1](h)
      new.append(attention.keys_values(z))
      y = softmax_beam_attention(
        attention.queries(z), None, cache.own[i], new[i], keys
      )
      h = h + attention.merge(y)
      h = h + feed(ffn, self.norms[3 * i + 2](h), real_BK, True)[0]
    return cache.then(self._ended(h, info.positions_BL), new, info)

  @property
  def _per_event(self) -> int:
    return self.target_tokens if self.join_events else 1

  def _set_of(self, layer: int) -> int:
    return layer * self.num_sets // self.num_layers

  def _events(self, info: SequenceInfo) -> SequenceInfo:
    """What is known of the context's tokens, by the first of each event."""
    each = self._per_event
    return SequenceInfo(
      info.segment_ids_BL[:, ::each],
      info.positions_BL[:, ::each] // each,
      info.key_times_BL[:, ::each],
      info.query_times_BL[:, ::each],
    )

  def _seen(self, segment_BS, info, within_BS):
    """What each target sees of its row (B, S, N), and the bias by recency."""
    events = self._events(info)
    sees_BSN = segment_BS[:, :, None] == events.segment_ids_BL[:, None, :]
    sees_BSN = sees_BSN & (segment_BS > 0)[:, :, None]
    place_B1N = events.positions_BL[:, None, :]
    if within_BS is None:
      end_BS1 = jnp.sum(sees_BSN, axis=-1, keepdims=True, dtype=jnp.int32)
    else:
      first_BS1, end_BS1 = (x[..., None] // self._per_event for x in within_BS)
      within_BSN = (place_B1N >= first_BS1) & (place_B1N < end_BS1)
      sees_BSN = sees_BSN & (within_BSN | (place_B1N < self.head_slots))
    if not self.recency_buckets:
      return sees_BSN, None
    place_B1N = self._places(events)[:, None, :]
    return sees_BSN, self.recency_bias.of_pairs(place_B1N - end_BS1, None)

  def _places(self, events):
    """Positions by which recency is counted: head slots are far from all."""
    place_BN = events.positions_BL
    return jnp.where(place_BN < self.head_slots, -self.max_distance, place_BN)

  def _ended(self, h, positions):
    """The last norm, with each position's own scale."""
    scale = self.final_scale[positions].astype(h.dtype)
    return self.final_norm(h) * scale
