# SPDX-License-Identifier: Apache-2.0
"""Next-item prediction where items are what they are made of, without codes.

    x_i = W v(item_i) + b + P[position_i]
    query_i = unit(W' backbone(x)_i)        compared by cosine with v(j)

The dense half of COBRA (cobra.py; the arm "w/o ID" of arXiv 2503.02453): v is
made of an item's content by an encoder that is trained with all else
(layers/item_content.py), and what is read is compared with all items, by exact
search or by an index.
"""

import jax.numpy as jnp

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.item_content import ContentEncoder
from genrec_jax.models.content_items import ContentItems
from genrec_jax.models.history_reader import HistoryReader


class ContentNextItem(ContentItems, HistoryReader, kw_only=True):
  """See the module docstring; options of items in content_items.py."""

  item_encoder: ContentEncoder
  num_distinct: int | None = None
  with_ids: bool = False
  stop_gradient_target: bool = False

  def setup(self):
    super().setup()
    self._set_up_items()

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      **self.content_axes,
      # Behind: a backbone's names are ends of an encoder's too.
      **super().logical_axes,
    }

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states, queries (B, L, E), and the batch's items in aux["items"].

    These are the items read, and the labels that are none of them.
    """
    ids_BL2 = jnp.stack([batch["item_BL"], _unread_labels(batch)], axis=-1)
    vectors_BL2E, items = self.item_content(
      ids_BL2, deterministic=deterministic
    )
    x_BLD = self.vector_in(vectors_BL2E[:, :, 0])
    h_BLD = self._hidden(x_BLD, batch, deterministic)
    return Outputs(
      hidden=h_BLD,
      query=self._queries(self.vector_out(h_BLD.astype(jnp.float32)), batch),
      aux={"items": self._targets(items)},
    )


def _unread_labels(batch):
  """Labels (B, L) that are not the item read after them; 0 elsewhere."""
  segments_BL, item_BL = batch["segment_ids_BL"], batch["item_BL"]
  read_BL = segments_BL[:, 1:] == segments_BL[:, :-1]
  read_BL = read_BL & (item_BL[:, 1:] == batch["label_BL"][:, :-1])
  read_BL = jnp.pad(read_BL, ((0, 0), (0, 1)))
  return jnp.where(read_BL, 0, batch["label_BL"])
