# SPDX-License-Identifier: Apache-2.0
"""What models have in common whose items are made of what they are.

    v(i) = unit(encoder(content[i]) + embedding[i])    layers/item_content.py

and of what is read and compared, x = W v(i) + b, v^ = unit(W' h). A mixin of
modules that have these fields:

    width                  of the model
    item_encoder           content of items to their vectors
    num_distinct, with_ids, row_multiple    see ItemContent
    stop_gradient_target   whether items are fixed where they are compared
                           with, so that the encoder learns by what is read
                           alone
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import ItemData
from genrec_jax.layers.item_content import BatchItems, ItemContent, with_data
from genrec_jax.ops.norm import l2_normalize


class ContentItems:
  """See the module docstring."""

  def __post_init__(self):
    super().__post_init__()
    if self.num_distinct is not None:
      check_counts(self, "config.system", "num_distinct")

  constants = tuple(f"item_content/{name}" for name in ItemContent.constants)

  @property
  def item_tables(self) -> tuple[tuple[str, ...], ...]:
    """Learned vectors by item, for a warm start from a smaller catalogue."""
    return (("item_content", "embedding"),) if self.with_ids else ()

  @property
  def content_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the dimensions of what the mixin adds to a model."""
    return {
      "vector_in/kernel": (None, "width"),
      "vector_out/kernel": ("width", None),
      **axes_below("item_content", ItemContent.logical_axes),
      **axes_below("item_encoder", self.item_encoder.logical_axes),
    }

  def data_init(
    self, params: Mapping[str, Any], data: ItemData, key: Key[Array, ""]
  ) -> dict[str, Any]:
    """Fresh parameters with the data of the catalogue's items."""
    del key
    found = {
      **params,
      "item_content": with_data(params["item_content"], data),
    }
    # An encoder may have no parameters.
    if (encoder := params.get("item_encoder")) is not None:
      found["item_encoder"] = self.item_encoder.with_data(encoder, data)
    return found

  def items(self, ids: Int[Array, "*b"] | None = None) -> Float[Array, "*b E"]:
    """Unit vectors of the ids, or of all rows for None."""
    return self.item_content.vectors(ids, deterministic=True)

  def seen(self) -> Bool[Array, "R"]:
    """Which rows are items with an event in the training part."""
    return self.item_content.seen()

  def _set_up_items(self) -> None:
    """For setup: items, and projections of their vectors in and out."""
    self.vector_in = nn.Dense(self.width)
    self.vector_out = nn.Dense(self.item_encoder.width, use_bias=False)
    self.item_content = ItemContent(
      self.num_items,
      self.item_encoder,
      num_distinct=self.num_distinct,
      with_ids=self.with_ids,
      row_multiple=self.row_multiple,
    )

  def _vector(self, h: Float[Array, "*b D"]) -> Float[Array, "*b E"]:
    """Unit vectors that items are compared with."""
    return l2_normalize(self.vector_out(h.astype(jnp.float32)))

  def _targets(self, items: BatchItems) -> BatchItems:
    """A batch's items as what is read is compared with them."""
    if not self.stop_gradient_target:
      return items
    fixed_UE = jax.lax.stop_gradient(items.vectors_UD)
    return dataclasses.replace(items, vectors_UD=fixed_UE)


def axes_below(part: str, axes: Mapping[str, Any]) -> dict[str, Any]:
  """Axes of a part's parameters by their path in the model."""
  return {f"{part}/*{end}": names for end, names in axes.items()}
