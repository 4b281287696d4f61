# SPDX-License-Identifier: Apache-2.0
"""Few rows that read a long history, in two parts: the user's, a candidate's.

    R = [G_u ; H]     summaries of the user, and all tokens of the history
    O = [G_u ; H_S]   the same summaries, and k chosen tokens
    O = Block(O reads R)                                   once: cross-causal
    O = Block(O reads O)                                   N times: self-causal

    C = Block(C reads [R ; C]), then Block(C reads [O ; C]), ...   a candidate

Tokens see what is not younger than themselves, summaries see all tokens, and a
candidate sees all of that and itself. Nothing sees a candidate, so the user's
part is the same for all of them: it is read once (`encode`), and its keys and
values are kept for any number of candidates (`read`), which see none of each
other (ops/sight.py). Cost is linear in the history's length (LONGER, arXiv
2505.04421, sections 3.4 and 3.5).

The tokens that stay rows are the most recent ones, or some spread evenly over
the older ones. Without candidates and summaries, and with all tokens chosen, it
is a causal Transformer (backbones/causal.py without its bias).

The paper masks by an index that counts from the newest and has all globals see
the candidate; here summaries do not, or nothing could be kept. It states
neither norms nor activations: these are RMSNorm before each part, and ReLU.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import check_counts
from genrec_jax.layers.read_block import Look, ReadBlock
from genrec_jax.ops.chunked_softmax import BLOCK, attend, joined
from genrec_jax.ops.event_groups import spread
from genrec_jax.ops.sight import EVERYTHING, Sight

_WHERE = "config.system.pooling.stack"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReadHistory:
  """What candidates need of histories.

  Attributes:
    layers: keys, values and moments (B, M) of what each layer's rows read.
    summaries_BUW: the summaries in the end.
    tokens_BKW: the chosen tokens in the end, oldest first; 0 where none is.
    there_BK: which of them are there.
  """

  layers: tuple[tuple[Any, Any, Any], ...]
  summaries_BUW: Any
  tokens_BKW: Any
  there_BK: Any

  @property
  def num_rows(self) -> int:
    """B."""
    return self.there_BK.shape[0]


class CrossCausal(nn.Module):
  """See the module docstring.

  Attributes:
    width: W, of all rows.
    num_heads: H.
    num_recent: k, most recent tokens that stay rows; of fewer all.
    num_spread: further ones, spread over those before.
    self_layers: N.
    head_width: E; None = W / H.
    ffn_width: inner width of the feed-forward parts; None = 4 W.
    summaries_seen: whether tokens see summaries; then they know of younger
      tokens, through these.
    dropout: see layers/read_block.py.
    block: keys that attention takes at a time.
    dtype: of the matrix products; parameters are float32.
  """

  width: int
  num_heads: int
  num_recent: int
  num_spread: int = 0
  self_layers: int = 1
  head_width: int | None = None
  ffn_width: int | None = None
  summaries_seen: bool = False
  dropout: float = 0.0
  block: int = BLOCK
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, _WHERE, "width", "num_heads", "block")
    names = ("num_recent", "num_spread", "self_layers")
    check_counts(self, _WHERE, *names, least=0)

  def setup(self):
    self.blocks = [
      ReadBlock(
        self.width,
        self.num_heads,
        self.head_width,
        self.ffn_width,
        self.dropout,
        self.dtype,
      )
      for _ in range(1 + self.self_layers)
    ]
    self.final_norm = nn.RMSNorm(dtype=self.dtype)

  def encode(
    self,
    summaries_BUW: Float[Array, "B U W"],
    tokens_BTW: Float[Array, "B T W"],
    there_BT: Bool[Array, "B T"],
    deterministic: bool,
  ) -> ReadHistory:
    """Reads histories.

    Args:
      summaries_BUW: rows that are no events; U may be 0.
      tokens_BTW: oldest first; those that are not there come first.
      there_BT: which are there.
      deterministic: no dropout.

    Raises:
      ValueError: neither a summary nor a token would be a row.
    """
    count = summaries_BUW.shape[1]
    if not count + self.num_recent + self.num_spread:
      raise ValueError(
        f"{_WHERE} keeps no token (num_recent=0, num_spread=0), and there is no"
        " summary that would read the history: keep some."
      )
    keys = Sight.of_summaries(
      len(there_BT), count, there_BT.shape[1], self.summaries_seen
    ).then(Sight.of_events(there_BT))
    index_BK, chosen_BK = self._chosen(there_BT)
    summaries = jnp.broadcast_to(
      jnp.arange(count)[None], (len(there_BT), count)
    )
    index_BQ = jnp.concatenate([summaries, count + index_BK], axis=1)
    there_BQ = jnp.concatenate(
      [jnp.ones_like(summaries, bool), chosen_BK], axis=1
    )
    queries = keys.take(index_BQ, there_BQ)
    read = jnp.concatenate([summaries_BUW, tokens_BTW], axis=1)
    h = jnp.take_along_axis(read, index_BQ[..., None], axis=1)
    layers = []
    for i, block in enumerate(self.blocks):
      # The first layer reads the history, all others what was read of it.
      seen = keys if i == 0 else queries
      kept = (*block.keys_values(read if i == 0 else h), seen.since_BR)
      h = block(h, self._at(kept, queries.until_BR), deterministic)
      layers.append(kept)
    h = jnp.where(there_BQ[..., None], self.final_norm(h), 0)
    return ReadHistory(tuple(layers), h[:, :count], h[:, count:], chosen_BK)

  def read(
    self,
    history: ReadHistory,
    candidates_BNCW: Float[Array, "B N C W"],
    deterministic: bool,
  ) -> Float[Array, "B N C W"]:
    """The rows of candidates behind histories, C of each.

    Args:
      history: of `encode`.
      candidates_BNCW: N candidates of each history.
      deterministic: no dropout.
    """
    rows, number, own, _ = candidates_BNCW.shape
    h = candidates_BNCW.reshape(rows, number * own, -1)
    for block, kept in zip(self.blocks, history.layers, strict=True):
      look = self._beside(kept, block.keys_values(h), own)
      h = block(h, look, deterministic)
    return self.final_norm(h).reshape(rows, number, own, -1)

  def _chosen(self, there_BT):
    """Places of the tokens that stay rows, and which there are."""
    length = there_BT.shape[1]
    recent = min(self.num_recent, length)
    first = length - recent
    index_BK = jnp.broadcast_to(
      jnp.arange(first, length)[None], (len(there_BT), recent)
    )
    chosen_BK = there_BT[:, first:]
    if self.num_spread and first:
      old_BK, is_old_BK = spread(there_BT[:, :first], self.num_spread)
      index_BK = jnp.concatenate([old_BK, index_BK], axis=1)
      chosen_BK = jnp.concatenate([is_old_BK, chosen_BK], axis=1)
    return index_BK, chosen_BK

  def _at(self, kept, until_BQ) -> Look:
    """Looks at keys up to a moment."""
    k, v, since = kept
    return lambda q: attend(q, k, v, until_BQ, since, block=self.block)[0]

  def _beside(self, kept, own_kv, own: int) -> Look:
    """Looks at all that is kept, and at a candidate's own rows."""
    k, v, since = kept

    def apart(x):
      return x.reshape(-1, own, *x.shape[2:])

    def look(q):
      rows, queries = q.shape[:2]
      everything = jnp.full((rows, queries), EVERYTHING)
      shared = attend(q, k, v, everything, since, block=self.block)
      zeros = jnp.zeros((rows * queries // own, own), jnp.int32)
      y, lse = attend(apart(q), *map(apart, own_kv), zeros, zeros)
      beside = y.reshape(shared[0].shape), lse.reshape(shared[1].shape)
      return joined([shared, beside])

    return look
