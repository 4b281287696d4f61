# SPDX-License-Identifier: Apache-2.0
"""Histories of one vector per event, read by a backbone: what comes next.

    h_i = backbone(x_i + P[position_i] + c_i)    dropout on its input, zero
                                                 at padding
    query_i = h_i, l2-normalised or not      scored against vectors of items

c_i is what a calendar shows at the time that position i asks about, or nothing
(layers/calendar_embedding.py). As a token of its own, c_i stands behind event i
instead, at the time that is asked about, and h_i is read there:

    x_1 c_1 x_2 c_2 ... x_n c_n      in training every c_i asks, in serving c_n

which is as causal, and takes rows of twice the length. A model of it says what
x is: a row of a table (next_item.py), or made of what an item is
(content_next_item.py).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.roles import EVENT
from genrec_jax.core.seams import Backbone
from genrec_jax.core.suggest import choices_hint
from genrec_jax.core.types import Batch, SequenceInfo
from genrec_jax.layers.calendar_embedding import CalendarEmbedding
from genrec_jax.layers.dropout import Dropout
from genrec_jax.layers.embeddings import PositionEmbedding
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.packed_rows import last_of_rows

_ADDED, _TOKEN = CALENDAR_AS = ("added", "token")


class HistoryReader(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; ids run from 1 to V.
    width: D.
    num_positions: longest segment that can be embedded.
    backbone: (x_BLD, info, deterministic) -> h_BLD.
    normalize: l2-normalise queries and items (eps 1e-6).
    row_multiple: the item table's rows are filled up to a multiple of it, for
      meshes that split it by rows.
    position_init_std: of the position table.
    calendar: reads hour, weekday, month and day of the year of the time that
      is asked about; the layout must give them (calendar=True there too).
    calendar_as: "added" to the event that asks, or a "token" behind it.
    dropout: on the embedded input.
    dtype: compute dtype of the input; parameters are float32.
  """

  num_items: int
  width: int
  num_positions: int
  backbone: Backbone
  normalize: bool = True
  row_multiple: int = 1
  position_init_std: float = 0.02
  calendar: bool = False
  calendar_as: str = _ADDED
  dropout: float = 0.0
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    if self.calendar_as not in CALENDAR_AS:
      raise ValueError(
        f"config.system.calendar_as={self.calendar_as!r} is unknown."
        + choices_hint(self.calendar_as, CALENDAR_AS)
      )
    if self.calendar_as == _TOKEN and not self.calendar:
      raise ValueError(
        "config.system.calendar_as='token' without config.system.calendar: set"
        " it to True, of the layout too."
      )

  def setup(self):
    self.position_embedding = PositionEmbedding(
      self.num_positions, self.width, self.position_init_std
    )
    if self.calendar:
      self.calendar_embedding = CalendarEmbedding(self.width)
    self.input_dropout = Dropout(self.dropout)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    calendar = {"calendar_embedding/waves/kernel": (None, "width")}
    return {
      "position_embedding/embedding": (None, "width"),
      **(calendar if self.calendar else {}),
      **self.backbone.logical_axes,
    }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.backbone.uses_time or self.calendar

  @property
  def max_length(self) -> int:
    """Longest segment whose positions all have a vector and a bias."""
    return min(self.num_positions, self.backbone.max_length)

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """Query vector of the last position of each row (one user per row)."""
    query_BLD = self(batch, deterministic=True).query
    return last_of_rows(query_BLD, batch["segment_ids_BL"])

  def _hidden(self, x_BLD, batch, deterministic):
    """Hidden states (B, L, D) of embedded events; 0 at padding."""
    x_BLD, info = self._placed(x_BLD, batch, deterministic)
    h_BLD = self.backbone(x_BLD, info, deterministic=deterministic)
    return h_BLD[:, 1::2] if self.calendar_as == _TOKEN else h_BLD

  def _placed(self, x_BLD, batch, deterministic):
    """Embedded events with their positions, and what attention needs."""
    info = SequenceInfo.from_batch(batch)
    as_token = self.calendar_as == _TOKEN
    place_BLD = self.position_embedding(info.positions_BL)
    x_BLD = x_BLD + place_BLD
    if self.calendar:
      c_BLD = self.calendar_embedding(_calendar(batch))
      if as_token:
        x_BLD = _in_turn(x_BLD, c_BLD + place_BLD)
        info = _with_tokens(info)
      else:
        x_BLD = x_BLD + c_BLD
    x_BLD = self.input_dropout(x_BLD, deterministic=deterministic)
    x_BLD = jnp.where(info.valid_BL[:, :, None], x_BLD, 0)
    return x_BLD.astype(self.dtype), info

  def _queries(self, h_BLD, batch):
    """Queries in float32; 0 at padding."""
    # Scores, losses and metrics are float32 whatever the compute dtype:
    # bfloat16 scores tie often.
    query_BLD = h_BLD.astype(jnp.float32)
    if self.normalize:
      query_BLD = l2_normalize(query_BLD)
    return jnp.where(batch["segment_ids_BL"][:, :, None] > 0, query_BLD, 0)


def _calendar(batch):
  """What the layout says of the times that are asked about."""
  if "calendar_BLC" not in batch:
    raise ValueError(
      "config.system.calendar=True reads the calendar, and the layout does not"
      " give it: set config.pipeline.layout.calendar=True, of a layout that has"
      " it (layouts.NextItem)."
    )
  return batch["calendar_BLC"]


def _in_turn(a_BLx: Array, b_BLx: Array) -> Array:
  """a_1 b_1 a_2 b_2 ...: (B, 2 L, ...)."""
  both = jnp.stack([a_BLx, b_BLx], axis=2)
  return both.reshape(len(a_BLx), -1, *a_BLx.shape[2:])


def _with_tokens(info: SequenceInfo) -> SequenceInfo:
  """Of events and, behind each, a token that happens when it asks."""
  return SequenceInfo(
    segment_ids_BL=_in_turn(info.segment_ids_BL, info.segment_ids_BL),
    positions_BL=_in_turn(info.positions_BL, info.positions_BL),
    key_times_BL=_in_turn(info.key_times_BL, info.query_times_BL),
    query_times_BL=_in_turn(info.query_times_BL, info.query_times_BL),
    # Two share a position: roles say that rows do not count positions.
    roles_BL=_in_turn(*2 * [jnp.full_like(info.segment_ids_BL, EVENT)]),
  )
