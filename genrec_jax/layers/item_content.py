# SPDX-License-Identifier: Apache-2.0
"""Vectors of items from what they are: encoded within the step.

    content (V + 1, W)            what is known of an item, by item id
    count (V + 1,)                its events in the training part
    embedding (V + 1, D)          where asked for: what it is beyond that
    v(i) = encoder(content[i]) + embedding[i]    float32, trained with all else

Content and counts are data that lie with the parameters (core/model_seams.py:
ConstantModel): set from the run's artifacts before training, held still, kept
in checkpoints, split over a mesh by rows like any table. An item that nobody
has seen has a vector as soon as it has a row: learned vectors start at 0, and
that of an item without a training event is not trained and not read.

Asked for the items of a batch it encodes each distinct one once and gathers
them back; the gather's gradient adds up over occurrences, so that popular
items weigh as much as they occur. Asked for all it encodes them in blocks.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped
import numpy as np

from genrec_jax.core.types import ItemData
from genrec_jax.layers.embeddings import count_rows
from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.blocks import count_blocks, join, split
from genrec_jax.ops.distinct import distinct_ids
from genrec_jax.ops.embedding_lookup import embedding_lookup, whole_table
from genrec_jax.ops.norm import l2_normalize

# Items encoded at once where all are asked for.
_BLOCK = 4096


@runtime_checkable
class ContentEncoder(Protocol):
  """Content of items to vectors.

  Attributes:
    content_width: W.
    content_dtype: "float32", or "int32" for tokens.
    width: D.
    logical_axes: names of the parameters' dimensions (core/sharding.py).
  """

  content_width: int
  content_dtype: str
  width: int
  logical_axes: Mapping[str, tuple[str | None, ...]]

  def with_data(
    self, params: Mapping[str, Any], data: ItemData
  ) -> dict[str, Any]:
    """Fresh parameters with what the data have for the encoder itself."""

  def __call__(
    self, content: Shaped[Array, "N W"], *, deterministic: bool
  ) -> Float[Array, "N D"]:
    """Vectors in float32."""


class ContentMlp(nn.Module):
  """An MLP on vectors that were made before, such as a text encoder's.

  Attributes:
    content_width: W.
    width: D.
    hidden_widths: of the layers before the last, which is linear.
    dropout: after each of these.
    dtype: of the products; parameters and vectors are float32.
  """

  content_width: int
  width: int
  hidden_widths: tuple[int, ...] = (256,)
  dropout: float = 0.0
  dtype: str = "float32"

  content_dtype = "float32"
  logical_axes = {"kernel": (None, None)}

  def with_data(
    self, params: Mapping[str, Any], data: ItemData
  ) -> dict[str, Any]:
    """Starts as drawn."""
    del data
    return {**params}

  @nn.compact
  def __call__(
    self, content: Float[Array, "N W"], *, deterministic: bool
  ) -> Float[Array, "N D"]:
    """See ContentEncoder."""
    mlp = Mlp(self.hidden_widths, self.dropout, self.dtype, name="mlp")
    h = mlp(content.astype(self.dtype), deterministic=deterministic)
    output = nn.Dense(self.width, dtype=self.dtype, name="output")
    return output(h).astype(jnp.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BatchItems:
  """The distinct items of a batch.

  Attributes:
    ids_U: ascending; 0 first, and to fill up.
    vectors_UD: of each; that of id 0 means nothing.
    share_U: of all training events, those of each.
    places: of every item of the batch, where it stands among them; (B, L, ..)
      where a position has several.
    per_event: places that each event has: 1, or one a code.
  """

  ids_U: Any
  vectors_UD: Any
  share_U: Any
  places: Any
  per_event: int = dataclasses.field(default=1, metadata={"static": True})


class ItemContent(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V.
    encoder: content to vectors.
    normalize: whether vectors have unit length.
    with_ids: whether each item also has a vector of its own.
    num_distinct: U, items that are encoded of a batch at most; with more than
      these in it, the vectors of some are NaN. None = as many as it may have.
    row_multiple: see layers/embeddings.py.
  """

  num_items: int
  encoder: ContentEncoder
  normalize: bool = True
  num_distinct: int | None = None
  with_ids: bool = False
  row_multiple: int = 1

  constants = ("content", "count")
  logical_axes = {
    "content": ("rows", None),
    "count": (None,),
    "embedding": ("rows", "width"),
  }

  def setup(self):
    rows = count_rows(self.num_items, self.row_multiple)
    self.content = self.param(
      "content",
      nn.initializers.zeros,
      (rows, self.encoder.content_width),
      self.encoder.content_dtype,
    )
    self.count = self.param(
      "count", nn.initializers.zeros, (rows,), jnp.float32
    )
    if self.with_ids:
      self.embedding = self.param(
        "embedding", nn.initializers.zeros, (rows, self.encoder.width)
      )

  def __call__(
    self,
    ids: Int[Array, "*b"],
    *,
    deterministic: bool,
    at_most: int | None = None,
  ) -> tuple[Float[Array, "*b D"], BatchItems]:
    """Vectors of the ids, and those of each distinct one.

    Args:
      ids: 0 is padding.
      deterministic: no dropout.
      at_most: num_distinct, where that is None.
    """
    size = at_most if self.num_distinct is None else self.num_distinct
    ids_U, places = distinct_ids(ids, size)
    vectors_UD = self.vectors(ids_U, deterministic=deterministic)
    found = vectors_UD.at[places].get(mode="fill", fill_value=jnp.nan)
    total = jnp.maximum(jnp.sum(self.count), 1)
    share_U = jax.lax.stop_gradient(self.count[ids_U] / total)
    return found, BatchItems(ids_U, vectors_UD, share_U, places)

  def vectors(
    self, ids: Int[Array, "*b"] | None, *, deterministic: bool
  ) -> Float[Array, "*b D"]:
    """Vectors of ids one by one, or of all rows for None."""

    def encode(encoder, content, learned=None):
      found = encoder(content, deterministic=deterministic)
      if learned is not None:
        found = found + learned
      return l2_normalize(found) if self.normalize else found

    if ids is not None:
      flat = ids.reshape(-1)
      tables = [jax.lax.stop_gradient(embedding_lookup(self.content, flat))]
      if self.with_ids:
        rows = embedding_lookup(self.embedding, flat)
        tables.append(jnp.where(self.seen()[flat][:, None], rows, 0))
      return encode(self.encoder, *tables).reshape(*ids.shape, -1)
    tables = [jax.lax.stop_gradient(whole_table(self.content))]
    if self.with_ids:
      rows = whole_table(self.embedding)
      tables.append(jnp.where(self.seen()[:, None], rows, 0))
    length = len(tables[0])
    count = count_blocks(length, _BLOCK)
    if count == 1:
      return encode(self.encoder, *tables)
    scan = nn.scan(
      lambda encoder, carry, block: (carry, encode(encoder, *block)),
      variable_broadcast="params",
      split_rngs={"params": False, "dropout": True},
    )
    _, found = scan(self.encoder, (), [split(table, count) for table in tables])
    return join(found, length)

  def seen(self) -> Bool[Array, "R"]:
    """Which rows are items with an event in the training part."""
    return self.count > 0

  def rows(
    self, ids: Int[Array, "N"] | None
  ) -> tuple[Shaped[Array, "N W"], Bool[Array, "N"]]:
    """Content of ids, or of all rows for None, and which of them has any."""
    table = self.content
    rows = whole_table(table) if ids is None else embedding_lookup(table, ids)
    return jax.lax.stop_gradient(rows), jnp.any(rows != 0, axis=-1)


def with_data(params: Mapping[str, Any], data: ItemData) -> dict[str, Any]:
  """Parameters of an ItemContent that hold a catalogue's data.

  Raises:
    ValueError: of another kind or width, or more rows than the table has.
  """
  table = params["content"]
  given = data.content.shape
  if np.issubdtype(data.content.dtype, np.integer) != (table.dtype == np.int32):
    kind = "text_tokens" if table.dtype == np.int32 else "vectors"
    raise ValueError(
      f"the items' content is {data.content.dtype}, and the model's encoder"
      f" reads {table.dtype}: set config.pipeline.layout.item_content to"
      f" {kind!r}, or take another encoder."
    )
  if given[1] != table.shape[1] or given[0] > table.shape[0]:
    raise ValueError(
      f"the items' content is {given}, and the model is built for"
      f" {tuple(table.shape)}: set content_width to {given[1]}."
    )
  content = np.zeros(table.shape, table.dtype)
  content[: given[0]] = data.content
  count = np.zeros(table.shape[:1], np.float32)
  # Padding is no item, whatever its count.
  count[1 : given[0]] = data.count[1:]
  return {**params, "content": content, "count": count}
