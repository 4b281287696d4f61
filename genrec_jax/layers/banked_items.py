# SPDX-License-Identifier: Apache-2.0
"""Vectors of items that are encoded within the step, or remembered of earlier.

    v(i) = unit(encoder(content[i]))     of the batch's items, each once
    write(bank, i, v(i))                 of those encoded in this step
    read(bank, j)                        of histories, after that, no gradient

Of the batch's items some may be encoded, and of these some differentiated
(layers/row_sampling.py); the others are read from the bank as it was. What has
no content, or is in no bank, has a learned vector that says so, and is told
apart by a mask: a cosine with it means nothing. Without a bank histories have
no vectors, or those of all items encoded anew in every step (`reencode`), which
is what a bank that is always fresh would give.

So a ranker can train the encoder of its documents (arXiv 2511.10962): 1,000
documents of a history cost a lookup each.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging
from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped
import numpy as np

from genrec_jax.core.types import ItemData, Mean
from genrec_jax.layers.embeddings import count_rows
from genrec_jax.layers.item_content import (
  ContentEncoder,
  ItemContent,
  with_data,
)
from genrec_jax.layers.memory_bank import BankTable, MemoryBank, assigned
from genrec_jax.layers.row_sampling import RowSampling
from genrec_jax.ops.distinct import distinct_ids
from genrec_jax.ops.memory_bank import Bank, age, read, write


class Banked(NamedTuple):
  """Vectors of a batch's items.

  Attributes:
    vectors: (.., D), of each.
    known: (..), whether it has one that was made of its content.
    bank: after the step's writes; None without one.
    assign: what Outputs.assign needs of it, by path below this layer.
    figures: what is told of the bank, by name.
  """

  vectors: Any
  known: Any
  bank: Bank | None
  assign: Mapping[tuple[str, ...], Any]
  figures: Mapping[str, Mean]


class _Fresh(NamedTuple):
  """Vectors that a step has computed, and of which rows."""

  vectors_UD: Any
  fresh_UD: Any
  fresh_U: Any


class BankedItems(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V.
    encoder: content to vectors.
    memory: of the bank; None = no bank.
    sampling: what is encoded of a batch in training.
    reencode: histories read all items encoded anew.
    live: where nothing is trained, a batch's items are encoded; False: read
      from the bank.
    num_distinct: see ItemContent; of training alone.
    row_multiple: see layers/embeddings.py.
  """

  num_items: int
  encoder: ContentEncoder
  memory: MemoryBank | None = None
  sampling: RowSampling = RowSampling()
  reencode: bool = False
  live: bool = True
  num_distinct: int | None = None
  row_multiple: int = 1

  constants = tuple(f"item_content/{name}" for name in ItemContent.constants)
  carried = tuple(f"bank/{name}" for name in BankTable.carried)
  by_item = tuple(("bank", name) for name in BankTable.by_item)
  logical_axes = {
    f"item_content/{name}": axes
    for name, axes in ItemContent.logical_axes.items()
  }

  def setup(self):
    self.item_content = ItemContent(
      self.num_items, self.encoder, row_multiple=self.row_multiple
    )
    width = self.encoder.width
    self.unknown = self.param(
      "unknown", nn.initializers.normal(width**-0.5), (width,)
    )
    if self.memory is not None:
      rows = count_rows(self.num_items, self.row_multiple)
      self.bank = BankTable(rows, width)

  def __call__(self, ids: Int[Array, "*b"], *, deterministic: bool) -> Banked:
    """Vectors of a batch's items; 0 is padding.

    NaN for some of more than num_distinct.
    """
    size = None if deterministic else self.num_distinct
    ids_U, places = distinct_ids(ids, size)
    _, there_U = self.item_content.rows(ids_U)
    there_U = there_U & (ids_U > 0)
    before, stored_UD, known_U = self._remembered(ids_U, there_U)
    base_UD = jnp.where(known_U[:, None], stored_UD, self.unknown[None, :])
    found = self._fresh(ids_U, there_U, known_U, base_UD, deterministic)
    after, assign, figures = before, {}, {}
    if before is not None and not deterministic:
      after = write(before, ids_U, found.fresh_UD, found.fresh_U)
      assign = {("bank", *path): x for path, x in assigned(after).items()}
      figures = _figures(before, ids_U, there_U, known_U, stored_UD, found)
    vectors = found.vectors_UD.at[places].get(mode="fill", fill_value=jnp.nan)
    known_U = known_U | found.fresh_U
    known = known_U.at[places].get(mode="fill", fill_value=False)
    return Banked(vectors, known, after, assign, figures)

  def history(
    self, ids: Int[Array, "*b"], bank: Bank | None, *, deterministic: bool
  ) -> tuple[Float[Array, "*b D"], Bool[Array, "*b"]]:
    """Vectors of events without a gradient, and which are known.

    Args:
      ids: items; 0 is padding.
      bank: of the same step's call.
      deterministic: no dropout.
    """
    if bank is not None:
      vectors, known = read(bank, ids, self.memory.max_age)
    else:
      table_RD = self.item_content.vectors(None, deterministic=deterministic)
      _, there_R = self.item_content.rows(None)
      vectors = jax.lax.stop_gradient(table_RD)[ids]
      known = there_R[ids] & (ids > 0)
    unknown = jnp.broadcast_to(self.unknown, vectors.shape)
    return jnp.where(known[..., None], vectors, unknown), known

  def content_rows(
    self, ids: Int[Array, "N"]
  ) -> tuple[Shaped[Array, "N W"], Bool[Array, "N"]]:
    """Content of items, and which have any, for other encoders."""
    return self.item_content.rows(ids)

  def _remembered(self, ids_U, there_U):
    """The bank, what it has of the ids, and of which it has something."""
    if self.memory is None:
      shape = (*ids_U.shape, self.encoder.width)
      nothing_UD = jnp.zeros(shape, jnp.float32)
      return None, nothing_UD, jnp.zeros(ids_U.shape, bool)
    bank = self.bank()
    stored_UD, known_U = read(bank, ids_U, self.memory.max_age)
    return bank, stored_UD, known_U & there_U

  def _fresh(self, ids_U, there_U, known_U, base_UD, deterministic) -> _Fresh:
    """Encodes what is to be encoded; the other rows are those of the base."""

    def encode(ids):
      return self.item_content.vectors(ids, deterministic=deterministic)

    if deterministic and not self.live and self.memory is not None:
      if self.is_initializing():
        encode(ids_U)
      return _Fresh(base_UD, base_UD, jnp.zeros(ids_U.shape, bool))
    if deterministic or self.sampling.everything:
      fresh_UD = encode(ids_U)
      vectors_UD = jnp.where(there_U[:, None], fresh_UD, base_UD)
      return _Fresh(vectors_UD, fresh_UD, there_U)
    chosen = self.sampling.choose(
      self.make_rng("dropout"), there_U, known_U, self.item_content.count[ids_U]
    )
    ids_F = jnp.where(chosen.forward_F, ids_U[chosen.places_F], 0)
    parts = []
    if chosen.trained:
      trained = encode(ids_F[: chosen.trained])
      fixed = jax.lax.stop_gradient(trained)
      learns = chosen.backward_F[: chosen.trained, None]
      parts.append(jnp.where(learns, trained, fixed))
    if chosen.trained < len(ids_F):
      fixed = jax.lax.stop_gradient(encode(ids_F[chosen.trained :]))
      parts.append(fixed)
    place_F = jnp.where(chosen.forward_F, chosen.places_F, len(ids_U))
    vectors_UD = base_UD.at[place_F].set(jnp.concatenate(parts), mode="drop")
    fresh_U = jnp.zeros(ids_U.shape, bool).at[place_F].set(True, mode="drop")
    return _Fresh(vectors_UD, vectors_UD, fresh_U)


def with_content(params: Mapping[str, Any], data: ItemData) -> dict[str, Any]:
  """Parameters of BankedItems that hold a catalogue's data.

  Raises:
    ValueError: no item has content.
  """
  count = len(data.content) - 1
  without = count - int(np.any(data.content[1:] != 0, axis=1).sum())
  if without == count:
    raise ValueError(
      f"none of the {count} items has content, such as a text: there is"
      " nothing to encode. See config.text_tokens or config.content."
    )
  if without:
    logging.warning(
      "%d of %d items have no content, such as a text: they are ranked without",
      without,
      count,
    )
  content = with_data(params["item_content"], data)
  return {**params, "item_content": content}


def _figures(before, ids_U, there_U, known_U, stored_UD, found):
  """Of the items of a batch that have content:

  coverage   share that the bank knew
  encoded    share that was encoded
  age        steps since what it knew was written
  staleness  1 - cosine of that with what was encoded now
  """
  cosine_U = jnp.sum(stored_UD * found.fresh_UD, axis=1)
  both_U = known_U & found.fresh_U
  figures = {
    "coverage": Mean.of(known_U.astype(jnp.float32), where=there_U),
    "encoded": Mean.of(found.fresh_U.astype(jnp.float32), where=there_U),
    # The step's own write is still to come.
    "age": Mean.of(1.0 + age(before, ids_U), where=known_U),
    "staleness": Mean.of(1 - cosine_U, where=both_U),
  }
  return jax.lax.stop_gradient(figures)
