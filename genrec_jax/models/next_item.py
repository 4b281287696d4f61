# SPDX-License-Identifier: Apache-2.0
"""Next-item prediction over any backbone: SASRec, HSTU and their kin.

    x_i = scale * E[item_i] + P[position_i],  dropout, zero at padding
    query_i = backbone(x)_i         scored against item vectors E[v]

    v_i = scale * E[item_i] + A(action_i)       what an event is, with actions
    x_i = mean of v over a group + P[i]         a place of several events

Queries and items are l2-normalised or not together; with normalisation the
score is a cosine and the objective divides it by a temperature. Scale is
sqrt(D) in SASRec (Kang and McAuley, 2018) and HSTU (arXiv 2402.17152). How
histories are read is in history_reader.py.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.resuming_seams import Kept
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.layers.action_embedding import ActionEmbedding
from genrec_jax.layers.embeddings import ItemEmbedding, count_rows
from genrec_jax.layers.further_tokens import can_extend, read_on
from genrec_jax.models.history_reader import HistoryReader
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.packed_rows import last_of_rows


class NextItem(HistoryReader):
  """Embeds packed histories, runs a backbone, and scores by dot product.

  Attributes:
    embedding_scale: multiplies item embeddings at the input; None = sqrt(D).
    embedding_init_std: of the item table.
    row_width: of the item table; a wider row is projected down to D. None = D.
    num_actions: bits of the mask that tells what was done with an item; 0 = it
      is not read. The layout must give it (`actions` there).
    groups: reads places that stand for several events; the layout must give
      them (`groups` there).
  """

  embedding_scale: float | None = None
  embedding_init_std: float = 0.02
  row_width: int | None = None
  num_actions: int = 0
  groups: bool = False

  # Tables indexed by item id, for a warm start from a smaller catalogue.
  item_tables = (("item_embedding", "embedding"),)

  def __post_init__(self):
    super().__post_init__()
    count_rows(self.num_items, self.row_multiple)

  def setup(self):
    super().setup()
    self.item_embedding = ItemEmbedding(
      self.num_items,
      self.width,
      self.embedding_init_std,
      row_width=self.row_width,
      row_multiple=self.row_multiple,
    )
    if self.num_actions:
      self.action_embedding = ActionEmbedding(self.num_actions, self.width)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "item_embedding/embedding": ("rows", "width"),
      "item_embedding/down/kernel": (None, "width"),
      **(ActionEmbedding.logical_axes if self.num_actions else {}),
      **super().logical_axes,
    }

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states and queries (B, L, D) of a packed batch; 0 at padding."""
    x_BLD = self._events(batch)
    if self.groups:
      x_BLD = self._with_groups(x_BLD, batch)
    h_BLD = self._hidden(x_BLD, batch, deterministic)
    return Outputs(hidden=h_BLD, query=self._queries(h_BLD, batch))

  @property
  def resumes(self) -> bool:
    """Whether `resume_query` can be called: every place is one event."""
    as_added = not self.calendar or self.calendar_as == "added"
    return not self.groups and as_added and can_extend(self.backbone)

  def resume_query(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[Float[Array, "B D"], Kept]:
    """See core/resuming_seams.py."""
    x_BND, info = self._placed(self._events(batch), batch, True)
    behind = None if before is None else SequenceInfo.from_batch(before)
    h_BND, cache = read_on(self.backbone, x_BND, info, kept, behind)
    query_BND = self._queries(h_BND, batch)
    return last_of_rows(query_BND, info.segment_ids_BL), cache.shared

  def embed(self, batch: Batch) -> Float[Array, "B L D"]:
    """Vectors of the inputs, without their positions."""
    scale = self.width**0.5
    if self.embedding_scale is not None:
      scale = self.embedding_scale
    return self.item_embedding(batch["item_BL"]) * scale

  def _events(self, batch):
    """Vectors of events: the item, and what was done with it."""
    x_BLD = self.embed(batch)
    if not self.num_actions:
      return x_BLD
    action_BL = _given(batch, "action_BL", "num_actions", "actions")
    return x_BLD + self.action_embedding(action_BL)

  def _with_groups(self, x_BLD, batch):
    """The vectors, with the mean of its events at a place of several."""
    slot_BL = _given(batch, "group_slot_BL", "groups", "groups")
    rows, most, size = batch["group_item_BNG"].shape
    flat = {
      f"{name}_BL": batch[f"group_{name}_BNG"].reshape(rows, most * size)
      for name in ("item", *(("action",) if self.num_actions else ()))
    }
    members_BNGD = self._events(flat).reshape(rows, most, size, self.width)
    found_BLD = jnp.take_along_axis(
      jnp.mean(members_BNGD, axis=2),
      jnp.maximum(slot_BL - 1, 0)[:, :, None],
      axis=1,
    )
    return jnp.where(slot_BL[:, :, None] > 0, found_BLD, x_BLD)

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Item vectors of the ids, or of the whole table for None.

    The table's rows are 0 (padding), 1 to V, and those that fill it up.
    """
    vectors = self.item_embedding(ids)
    return l2_normalize(vectors) if self.normalize else vectors


def _given(batch, name, reads, gives):
  """An array that only some layouts give."""
  if name not in batch:
    raise ValueError(
      f"config.system.{reads} reads {name}, and the layout does not give it:"
      f" set config.pipeline.layout.{gives}, of layouts.NextItem."
    )
  return batch[name]
