# SPDX-License-Identifier: Apache-2.0
"""LIGER on the encoder-decoder of its authors: codes generate, a vector ranks.

    encoder   x = E[token] + W v(item of the token) + b
    v^        unit(W' h of the history's last token)
    decoder   codes of the next item, as TIGER's

Yang et al., arXiv 2411.18814, section 4. Each row is packed with histories, one
target each (data/layouts/semantic_id_prefixes.py, with_items); a history is
read before its target, so that an item's content may join all of its codes.
token_seq2seq.py is the host, liger.py the form that reads a user once.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.item_content import ContentEncoder
from genrec_jax.models.content_items import ContentItems
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.ops.packed_rows import last_of_rows


class LigerSeq2Seq(ContentItems, TokenSeq2Seq, kw_only=True):
  """See the module docstring; options of items in content_items.py."""

  item_encoder: ContentEncoder
  num_distinct: int | None = None
  with_ids: bool = False
  stop_gradient_target: bool = False
  row_multiple: int = 1

  # The vector of a history is read at its end.
  shares_history = False

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
    """Logits (B, S, M, C) and queries (B, S, E) of every target.

    The batch's items are in aux["items"]; queries of what is no target mean
    nothing.
    """
    vectors_BLE, items = self._encoded(batch, deterministic)
    x_BLD, info = self._tokens(batch, self._added(batch, vectors_BLE))
    memory_BLD = self.backbone.encode(x_BLD, info, deterministic)
    last_BS = _last_of_segments(
      batch["segment_ids_BL"], batch["target_segment_BS"]
    )
    last_BSD = jnp.take_along_axis(memory_BLD, last_BS[:, :, None], axis=1)
    logits, _ = self._target_logits(batch, memory_BLD, info, deterministic)
    return Outputs(
      hidden=memory_BLD,
      logits=logits,
      query=self._vector(last_BSD),
      aux={"items": self._targets(items)},
    )

  def start(self, batch: Batch) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """Cache of the histories, one per row, and logits of the first level."""
    return self._read(batch, self._encoded(batch, True)[0])

  def start_from(
    self, batch: Batch, vectors_RE: Float[Array, "R E"]
  ) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """As start, with what `items` gave in place of encoding items anew."""
    return self._read(batch, vectors_RE[batch["item_BL"]])

  def step(
    self,
    cache: dict[str, Any],
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[dict[str, Any], Float[Array, "B K C"]]:
    """Logits of a level after each beam's code of the level before."""
    decoder, logits = super().step(
      cache["decoder"], level, codes_BK, parents_BK
    )
    return {**cache, "decoder": decoder}, logits

  def check_history_vector(self) -> None:
    """There is one always: it is read before the codes."""

  def history_vector(self, cache: dict[str, Any]) -> Float[Array, "B E"]:
    """Unit vectors of what comes next, by histories alone."""
    return self._vector(cache["state"])

  def query(self, batch: Batch) -> Float[Array, "B E"]:
    """The same of a batch: all items may be searched by it, without codes."""
    return self.history_vector(self.start(batch)[0])

  def _encoded(self, batch, deterministic):
    item_BL = batch["item_BL"]
    # An item is a token per level.
    at_most = item_BL.size // len(self.level_sizes) + 1
    vectors_BLE, items = self.item_content(
      item_BL, deterministic=deterministic, at_most=at_most
    )
    per_event = len(self.level_sizes)
    return vectors_BLE, dataclasses.replace(items, per_event=per_event)

  def _added(self, batch, vectors_BLE):
    """What items add to their tokens; nothing to a user's."""
    added_BLD = self.vector_in(vectors_BLE)
    return jnp.where(batch["item_BL"][:, :, None] > 0, added_BLD, 0)

  def _read(self, batch, vectors_BLE):
    x_BLD, info = self._tokens(batch, self._added(batch, vectors_BLE))
    memory_BLD, decoder, logits_BC = self._begun(x_BLD, info)
    state_BD = last_of_rows(memory_BLD, info.segment_ids_BL)
    return {"decoder": decoder, "state": state_BD}, logits_BC


def _last_of_segments(segment_BL, segment_BS):
  """Where in its row each of these segments ends (B, S); 0 for segment 0."""
  of_BSL = segment_BL[:, None, :] == segment_BS[:, :, None]
  of_BSL = of_BSL & (segment_BS[:, :, None] > 0)
  index_L = jnp.arange(segment_BL.shape[1], dtype=jnp.int32)
  return jnp.max(jnp.where(of_BSL, index_L[None, None], 0), axis=2)
