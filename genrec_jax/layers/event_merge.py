# SPDX-License-Identifier: Apache-2.0
"""A long history as few wide tokens: K neighbouring events, one token.

    x_j = W_2 relu(W_1 [e_j ; time_j] + P[place_j])                    (B, L, d)
    M_t = Block([x_t1 .. x_tK])       N times, within a group: "InnerTrans"
    token_t = [M_t1 ; .. ; M_tK]                                 (B, L / K, K d)

Events are joined and not averaged, so that a token still tells all of them
(LONGER, arXiv 2505.04421, section 3.3). Places are counted from the end that
groups are aligned to (ops/event_groups.py): from the newest event, where groups
move on with every further event, or from the oldest of the window, where a
group that is full keeps its events. Its token is the same until the window
moves on by a group, and places with it, if times are those between events: how
long before a request something was is another number at each. A history of
fewer than K events is one group with room left; K need not divide L.

time_j is how long ago the event was, as the layout tells: its logarithm and
whether it is known, or a vector of its logarithmic bucket. The paper says
neither, nor how many blocks there are, nor their heads.
"""

from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.layers.embeddings import PositionEmbedding
from genrec_jax.layers.read_block import ReadBlock
from genrec_jax.ops.chunked_softmax import attend
from genrec_jax.ops.event_groups import grouped, last_there
from genrec_jax.ops.sight import UNSEEN
from genrec_jax.ops.time_buckets import BUCKET_WIDTH, time_buckets

_NEWEST, _OLDEST = ALIGN = ("newest", "oldest")
_WHERE = "config.system.pooling.merge"
_YEAR_SECONDS = 31_556_952


class EventMerge(nn.Module):
  """See the module docstring.

  Attributes:
    size: K; 1 = events stay single.
    width: d, of an event.
    num_positions: most events of a history.
    align: where groups begin, "newest" or "oldest".
    inner_layers: N.
    num_heads: of these.
    num_gaps: log buckets of times; 0 = the logarithm itself.
    dtype: of the matrix products; parameters are float32.
  """

  size: int
  width: int
  num_positions: int
  align: str = _NEWEST
  inner_layers: int = 0
  num_heads: int = 2
  num_gaps: int = 0
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, _WHERE, "size", "width", "num_positions", "num_heads")
    check_counts(self, _WHERE, "inner_layers", "num_gaps", least=0)
    if self.align not in ALIGN:
      raise ValueError(
        f"{_WHERE}.align={self.align!r} is unknown."
        + choices_hint(self.align, ALIGN)
      )

  @property
  def token_width(self) -> int:
    """K d."""
    return self.size * self.width

  @property
  def history_group(self) -> int:
    """What the first event of a window must be a multiple of."""
    return self.size if self.align == _OLDEST else 1

  @nn.compact
  def __call__(
    self,
    events_BLE: Float[Array, "B L E"],
    seconds_BL: Int[Array, "B L"] | None,
    where_BL: Bool[Array, "B L"],
  ) -> tuple[Float[Array, "B T W"], Bool[Array, "B T"]]:
    """Tokens, the newest the last, and which are there.

    Args:
      events_BLE: oldest first, right padded.
      seconds_BL: how long ago they were, -1 = not known; None = not told.
      where_BL: which are there.

    Raises:
      ValueError: more places than num_positions.
    """
    self._check(where_BL.shape[1])
    from_newest = self.align == _NEWEST
    place_BL = jnp.broadcast_to(
      jnp.arange(where_BL.shape[1])[None], where_BL.shape
    )
    if from_newest:
      place_BL = jnp.maximum(last_there(where_BL)[:, None] - 1 - place_BL, 0)
    parts = [events_BLE.astype(self.dtype)]
    if seconds_BL is not None:
      parts.append(self._times(seconds_BL))
    h = nn.Dense(2 * self.width, dtype=self.dtype, name="in")(
      jnp.concatenate(parts, axis=-1)
    )
    positions = PositionEmbedding(
      self.num_positions, 2 * self.width, name="position"
    )
    h = nn.relu(h + positions(place_BL).astype(self.dtype))
    x_BLD = nn.Dense(self.width, dtype=self.dtype, name="out")(h)
    members_BTKD, there_BTK = grouped(
      x_BLD, where_BL, self.size, from_newest=from_newest
    )
    members_BTKD = self._within(members_BTKD, there_BTK)
    tokens_BTW = members_BTKD.reshape(*there_BTK.shape[:2], -1)
    return tokens_BTW, jnp.any(there_BTK, axis=2)

  def _check(self, length: int) -> None:
    if length > self.num_positions:
      raise ValueError(
        f"{_WHERE}.num_positions={self.num_positions}, and histories have"
        f" {length} places: set it to at least as many."
      )

  def _times(self, seconds_BL) -> Array:
    known_BL = seconds_BL >= 0
    seconds_BL = jnp.maximum(seconds_BL, 0)
    if self.num_gaps:
      bucket_BL = 1 + time_buckets(seconds_BL, BUCKET_WIDTH, self.num_gaps)
      rows_BL = jnp.where(known_BL, bucket_BL, 0)
      table = nn.Embed(self.num_gaps + 1, self.width, name="gap")
      return table(rows_BL).astype(self.dtype)
    log_BL = jnp.log1p(seconds_BL.astype(jnp.float32))
    log_BL = log_BL / jnp.log1p(jnp.float32(_YEAR_SECONDS))
    told = [jnp.where(known_BL, log_BL, 0), known_BL.astype(jnp.float32)]
    return jnp.stack(told, axis=-1).astype(self.dtype)

  def _within(self, members_BTKD, there_BTK) -> Any:
    """The members after they have seen each other."""
    if not self.inner_layers:
      return members_BTKD
    shape = members_BTKD.shape
    x = members_BTKD.reshape(-1, *shape[2:])
    there = there_BTK.reshape(-1, self.size)
    since, until = jnp.where(there, 0, UNSEEN), jnp.zeros_like(there, jnp.int32)
    for i in range(self.inner_layers):
      block = ReadBlock(
        self.width, self.num_heads, dtype=self.dtype, name=f"inner_{i}"
      )
      k, v = block.keys_values(x)

      def look(q, k=k, v=v):
        return attend(q, k, v, until, since)[0]

      x = block(x, look, True)
    return jnp.where(there[..., None], x, 0).reshape(shape)
