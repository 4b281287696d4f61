# SPDX-License-Identifier: Apache-2.0
"""Pointwise ranking with an encoder of what items are, trained with the ranker.

    v_c = unit(encoder(content[c]))        the candidate, encoded in the step
    q   = unit(encoder'(content[query]))   what the request looked for
    m_j = bank[item_j]                     event j, as it was encoded last
    f   = the k largest of cos(v_c, m_j), descending
    z   = head(MLP(interactions([x, W v_c, W' q, W'' f, u])))
    u   = pooling([e_j, W* m_j], [c, W v_c])

LEMUR (ByteDance, arXiv 2511.10962): a document encoder of a search ranker, with
a query encoder, a memory bank for histories, and a contrast of queries with
documents beside the ranker's loss (objectives/query_document.py). Features,
pooling and interactions are those of models/feature_ranker.py; encoder, bank
and sampling those of layers/banked_items.py, with any ContentEncoder
(layers/item_content.py). A request's query is the content of an item
(data/layouts/queries.py). The published one pools by cross-attention and mixes
by RankMixer; here pooling and interactions are parts of the config, of those
that know no features by name.
"""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Batch, ItemData, Outputs
from genrec_jax.layers.banked_items import (
  Banked,
  BankedItems,
  with_content,
)
from genrec_jax.layers.embeddings import count_rows
from genrec_jax.layers.history_events import history_events
from genrec_jax.layers.item_content import ContentEncoder
from genrec_jax.layers.memory_bank import MemoryBank
from genrec_jax.layers.row_sampling import RowSampling
from genrec_jax.models.content_items import axes_below
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.ops.distinct import distinct_ids
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.top_cosines import top_cosines

_ITEMS = "documents"


class ContentRanker(FeatureRanker, kw_only=True):
  """See the module docstring, and models/feature_ranker.py.

  Attributes:
    item_encoder: of candidates.
    query_encoder: of queries, of the same content and width.
    memory: of the bank that histories are read from; None = no bank.
    sampling: what is encoded of a batch in training.
    reencode_history: without a bank: events as all items are now; else they
      have no content.
    live_candidates: where nothing is trained candidates are encoded; False:
      read from the bank, as published.
    num_cosines: k; 0 = none.
    stop_gradient: the ranker's loss does not train the encoders.
    num_distinct: items of a training batch that there is room for; None = as
      many as it may have.
    num_queries: likewise queries.
  """

  item_encoder: ContentEncoder
  query_encoder: ContentEncoder
  memory: MemoryBank | None = None
  sampling: RowSampling = RowSampling()
  reencode_history: bool = False
  live_candidates: bool = True
  num_cosines: int = 8
  stop_gradient: bool = False
  num_distinct: int | None = None
  num_queries: int | None = None

  def __post_init__(self):
    super().__post_init__()
    where = "config.system"
    check_counts(self, where, "num_cosines", least=0)
    for name in ("num_distinct", "num_queries"):
      if vars(self)[name] is not None:
        check_counts(self, where, name)
    if self.memory is not None and self.reencode_history:
      raise ValueError(
        f"{where} has a memory and reencode_history, of which one would not be"
        " read: choose one."
      )
    if self.memory is None and self.sampling.needs_memory:
      raise ValueError(
        f"{where}.sampling={self.sampling} leaves items out, which are read"
        f" from a memory then: set {where}.memory, or forward=1 and"
        " popular_count=None."
      )
    if self.memory is None and not self.live_candidates:
      raise ValueError(
        f"{where}.live_candidates=False reads candidates from a memory: set"
        f" {where}.memory, or live_candidates=True."
      )
    if self.num_cosines and not self._history_has_content:
      raise ValueError(
        f"{where}.num_cosines={self.num_cosines} are of a history's content,"
        " and nothing gives it: set memory or reencode_history, or"
        " num_cosines=0."
      )
    if not self.history_columns:
      for name in ("num_cosines", "reencode_history"):
        if vars(self)[name]:
          raise ValueError(
            f"{where}.{name}={vars(self)[name]} is of a history, and none is"
            " read: name features in config.pipeline.layout.history_features,"
            f" or set {name} to 0 or False."
          )
    if self.audience_columns:
      raise ValueError(
        f"{where}.audience_columns: models.ContentRanker reads no audience of"
        " items; leave it out, or take models.FeatureRanker."
      )
    if self._is_deep:
      raise ValueError(
        f"{where}.interactions groups vectors by the names of features, and"
        " what is made of content has none: take other interactions."
      )
    if self.memory is not None:
      rows = count_rows(self.num_items, self.row_multiple)
      self.memory.check(rows, self.item_encoder.width)
    theirs, ours = self.query_encoder, self.item_encoder
    for name in ("content_width", "content_dtype", "width"):
      pair = getattr(ours, name), getattr(theirs, name)
      if pair[0] != pair[1]:
        raise ValueError(
          f"{where}.item_encoder.{name}={pair[0]!r} and {where}.query_encoder"
          f".{name}={pair[1]!r}: both read one content, and are compared."
        )

  def setup(self):
    super().setup()
    self.documents = BankedItems(
      self.num_items,
      self.item_encoder,
      memory=self.memory,
      sampling=self.sampling,
      reencode=self.reencode_history,
      live=self.live_candidates,
      num_distinct=self.num_distinct,
      row_multiple=self.row_multiple,
    )
    width = self.query_encoder.width
    self.no_query = self.param(
      "no_query", nn.initializers.normal(width**-0.5), (width,)
    )
    # To the ranker's width, each of them one more vector.
    self.document_in = nn.Dense(self.width, use_bias=False)
    self.query_in = nn.Dense(self.width, use_bias=False)
    self.event_in = nn.Dense(self.width, use_bias=False)
    self.cosine_in = nn.Dense(self.width)

  @property
  def _history_has_content(self) -> bool:
    return self.memory is not None or self.reencode_history

  @property
  def constants(self) -> tuple[str, ...]:
    """Parameters that are data."""
    return tuple(f"{_ITEMS}/{name}" for name in BankedItems.constants)

  @property
  def carried(self) -> tuple[str, ...]:
    """Parameters that are carried from step to step."""
    if self.memory is None:
      return ()
    return tuple(f"{_ITEMS}/{name}" for name in BankedItems.carried)

  @property
  def item_tables(self) -> tuple[tuple[str, ...], ...]:
    """What a warm start takes over by item: the bank."""
    if self.memory is None:
      return ()
    return tuple((_ITEMS, *path) for path in BankedItems.by_item)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      **axes_below("item_encoder", self.item_encoder.logical_axes),
      **axes_below("query_encoder", self.query_encoder.logical_axes),
      **axes_below(_ITEMS, BankedItems.logical_axes),
      **super().logical_axes,
    }

  def data_init(
    self, params: Mapping[str, Any], data: ItemData, key: Key[Array, ""]
  ) -> dict[str, Any]:
    """Fresh parameters with the content of the catalogue's items.

    Raises:
      ValueError: no item has any.
    """
    del key
    found = {**params, _ITEMS: with_content(params[_ITEMS], data)}
    for name, encoder in (
      ("item_encoder", self.item_encoder),
      ("query_encoder", self.query_encoder),
    ):
      # An encoder may have no parameters.
      if (own := params.get(name)) is not None:
        found[name] = encoder.with_data(own, data)
    return found

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, T) in float32; 0 at padding.

    Returns:
      query and item: (B, L, E), unit vectors; aux: "asked_BL" and "known_BL",
      which of these are made of content, and "memory", figures of the bank by
      name, empty where nothing is trained.
    """
    documents = self.documents(batch["item_BL"], deterministic=deterministic)
    query_BLE, asked_BL = self._queries(batch, deterministic)
    seen = (documents.vectors, query_BLE)
    if self.stop_gradient:
      seen = jax.lax.stop_gradient(seen)
    document_BLD, query_BLD = self.document_in(seen[0]), self.query_in(seen[1])
    x_BLFD = self.feature_embedding(batch["features_BLF"])
    parts = [x_BLFD, document_BLD[:, :, None], query_BLD[:, :, None]]
    if self.history_columns:
      place = jnp.array(self.history_columns)
      candidate = [x_BLFD[:, :, place], document_BLD[:, :, None]]
      parts += self._read_history(
        batch, documents, seen[0], candidate, deterministic
      )
    x_BLFD = jnp.concatenate(parts, axis=2)
    found = self._outputs(x_BLFD, batch, deterministic)
    return Outputs(
      hidden=found.hidden,
      query=query_BLE,
      item=documents.vectors,
      logits=found.logits,
      aux={
        **(found.aux or {}),
        "asked_BL": asked_BL,
        "known_BL": documents.known,
        "memory": documents.figures,
      },
      assign={
        **found.assign,
        **{(_ITEMS, *path): x for path, x in documents.assign.items()},
      },
    )

  def _queries(
    self, batch: Batch, deterministic: bool
  ) -> tuple[Float[Array, "B L E"], Bool[Array, "B L"]]:
    """Vectors of what was looked for, each encoded once, and where it is."""
    size = None if deterministic else self.num_queries
    ids_U, places_BL = distinct_ids(batch["query_BL"], size)
    content_UW, there_U = self.documents.content_rows(ids_U)
    there_U = there_U & (ids_U > 0)
    vectors_UE = l2_normalize(
      self.query_encoder(content_UW, deterministic=deterministic)
    )
    vectors_UE = jnp.where(there_U[:, None], vectors_UE, self.no_query[None, :])
    query_BLE = vectors_UE.at[places_BL].get(mode="fill", fill_value=jnp.nan)
    asked_BL = there_U.at[places_BL].get(mode="fill", fill_value=False)
    return query_BLE, asked_BL

  def _read_history(
    self,
    batch: Batch,
    documents: Banked,
    vectors_BLE: Float[Array, "B L E"],
    candidate: list[Float[Array, "B L _ D"]],
    deterministic: bool,
  ) -> list[Float[Array, "B L _ D"]]:
    """The history as vectors: pooled by the candidate, and its cosines."""
    events_BLHE = history_events(
      batch,
      self.feature_embedding,
      self.history_columns,
      self.action,
      self.num_actions,
    )
    ids_BLH, more = batch["history_item_BLH"], []
    if self._history_has_content:
      content_BLHE, known_BLH = self.documents.history(
        ids_BLH, documents.bank, deterministic=deterministic
      )
      told_BLHD = self.event_in(content_BLHE)
      events_BLHE = jnp.concatenate([events_BLHE, told_BLHD], axis=-1)
      if self.num_cosines:
        both_BLH = known_BLH & documents.known[..., None]
        cosine_BLK = top_cosines(
          vectors_BLE, content_BLHE, both_BLH, self.num_cosines
        )
        more = [self.cosine_in(cosine_BLK)[:, :, None]]
    else:
      candidate = candidate[:1]
    candidate_BLGD = jnp.concatenate(candidate, axis=2)
    pooled_BLE = self.pooling(
      events_BLHE.astype(self.dtype),
      candidate_BLGD.reshape(*events_BLHE.shape[:2], -1).astype(self.dtype),
      ids_BLH > 0,
    )
    return [pooled_BLE.reshape(candidate_BLGD.shape), *more]
