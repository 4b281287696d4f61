# SPDX-License-Identifier: Apache-2.0
"""Typed tokens of a grammar, read by a backbone: whole rows, or one by one.

    open    prompts, one a row        -> one beam behind each
    read    a token more of each beam -> its state, and the automaton's

    logits of a type = <h, E[c]> / sqrt(D)  tied,  or <h, F[c]>

One table has the tokens of all types, and each type is a softmax of its own.
Where the grammar's automaton has no such token next, its logits are -inf. A
model (token_baseline.py) says what is asked of the states.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.types import Batch, SequenceInfo
from genrec_jax.data.token_grammar import TokenGrammar
from genrec_jax.layers.cache import Cache, Caching
from genrec_jax.layers.code_embedding import CodeEmbedding
from genrec_jax.layers.dropout import Dropout
from genrec_jax.ops.packed_rows import last_of_rows
from genrec_jax.ops.token_automaton import TokenAutomaton


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenCache:
  """Where K beams behind each prompt stand.

  Attributes:
    backbone: keys and values (layers/cache.py).
    place_B1: position of the next token.
    time_B1: seconds at which is asked.
    state_BK: of the automaton.
    hidden_BKD: of the last token.
  """

  backbone: Cache
  place_B1: Any
  time_B1: Any
  state_BK: Any
  hidden_BKD: Any

  def pick(self, beam_BK: Int[Array, "B K"]) -> "TokenCache":
    """The cache of these beams."""
    return dataclasses.replace(
      self,
      backbone=self.backbone.follow(beam_BK, beam_BK.shape[1]),
      state_BK=jnp.take_along_axis(self.state_BK, beam_BK, axis=1),
      hidden_BKD=jnp.take_along_axis(
        self.hidden_BKD, beam_BK[:, :, None], axis=1
      ),
    )


class TypedTokenReader(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; only for the trainer, there is no table of items.
    grammar: of the tokens, its layout's.
    width: D.
    backbone: a backbone with a cache (layers/cache.py).
    tied: inputs and outputs share their table.
    embedding_init_std: of the tokens' table.
    dropout: on the embedded input.
    dtype: compute dtype of the input; parameters are float32.
  """

  num_items: int
  grammar: TokenGrammar
  width: int
  backbone: Caching
  tied: bool = True
  embedding_init_std: float = 1.0
  dropout: float = 0.0
  dtype: str = "float32"

  item_tables = ()

  def setup(self):
    sizes = tuple(kind.size for kind in self.grammar.types)
    self.tokens = CodeEmbedding(
      sizes, self.width, self.embedding_init_std, self.tied
    )
    self.input_dropout = Dropout(self.dropout)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "tokens/embedding": (None, "width"),
      "tokens/output": (None, "width"),
      **self.backbone.logical_axes,
    }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.backbone.uses_time

  @property
  def max_length(self) -> int:
    """Longest example whose positions can be told apart."""
    return self.backbone.max_length

  @property
  def level_sizes(self) -> tuple[int, ...]:
    """Codes of each level of an item's ID."""
    return self.grammar.level_sizes

  def open(self, batch: Batch, room: int) -> TokenCache:
    """One beam behind each prompt (one a row), with room for more tokens."""
    info = SequenceInfo.from_batch(batch)
    x_BLD = self._embed(batch["token_BL"], info)
    h_BLD, backbone = self.backbone.start(x_BLD, info, room)
    segments_BL = info.segment_ids_BL
    states_BL = self._automaton.states(batch["token_BL"], segments_BL)
    count_B1 = jnp.sum(segments_BL > 0, axis=1, keepdims=True)
    last_B1 = jnp.maximum(count_B1 - 1, 0)
    return TokenCache(
      backbone=backbone,
      place_B1=count_B1,
      time_B1=jnp.take_along_axis(info.query_times_BL, last_B1, axis=1),
      state_BK=states_BL[:, -1:],
      hidden_BKD=last_of_rows(h_BLD, segments_BL)[:, None],
    )

  def read(
    self,
    cache: TokenCache,
    token_BK: Int[Array, "B K"],
    y_BKD: Float[Array, "B K D"] | None = None,
    there: Bool[Array, ""] | bool = True,
  ) -> TokenCache:
    """One token more of each beam.

    Args:
      cache: of the beams.
      token_BK: what is read.
      y_BKD: a vector to read in its place.
      there: whether anything is read at all; else the beams stay as they are.
    """
    # Joint tokens are codes of the first type, which starts at 0.
    y_BKD = self.tokens(token_BK, 0) if y_BKD is None else y_BKD
    one_B1 = jnp.zeros_like(cache.place_B1) + there
    info = SequenceInfo(one_B1, cache.place_B1, cache.time_B1, cache.time_B1)
    h_BKD, backbone = self.backbone.step(
      y_BKD.astype(self.dtype), cache.backbone, info
    )
    state_BK = self._automaton.advance(cache.state_BK, token_BK)
    return TokenCache(
      backbone=backbone,
      place_B1=cache.place_B1 + one_B1,
      time_B1=cache.time_B1,
      state_BK=jnp.where(there, state_BK, cache.state_BK),
      hidden_BKD=jnp.where(there, h_BKD, cache.hidden_BKD),
    )

  def next_logits(self, cache: TokenCache, kind: int) -> Float[Array, "B K C"]:
    """Float32 logits of a type's tokens; -inf where it may not come next."""
    allowed_S = jnp.asarray(self.grammar.allowed_SK[:, kind])
    logits_BKC = self.tokens.logits(cache.hidden_BKD, kind)
    return jnp.where(
      allowed_S[cache.state_BK][:, :, None], logits_BKC, -jnp.inf
    )

  def _embed(self, token_BL, info):
    x_BLD = self.tokens(token_BL, 0)
    return jnp.where(info.valid_BL[:, :, None], x_BLD, 0).astype(self.dtype)

  @property
  def _automaton(self) -> TokenAutomaton:
    grammar = self.grammar
    return TokenAutomaton(
      grammar.type_V, grammar.next_state_SK, grammar.allowed_SV
    )
