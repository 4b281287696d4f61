# SPDX-License-Identifier: Apache-2.0
"""One state of a history, and two answers: codes of the next item, a vector.

    p(codes)   as in item_code_decoder.py, from the state h
    v^         unit(W h)          compared by cosine with unit(E[v])

E is the table that histories are read with, so that both losses train one
vector per item. A search may rank what beams propose by the vector, by the
codes' probability, or by both (retrieval.BeamUnion), as LIGER does whose
candidates come from codes and whose order comes from vectors (Yang et al.,
arXiv 2411.18814, section 4); there a place is a code, here it is an item.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.models.item_code_decoder import ItemCodeDecoder
from genrec_jax.ops.norm import l2_normalize


class ItemCodeVectorDecoder(ItemCodeDecoder, kw_only=True):
  """See the module docstring; attributes are those of ItemCodeDecoder."""

  def __post_init__(self):
    super().__post_init__()
    if not self.item_inputs:
      raise ValueError(
        "config.system.item_inputs=False: the vectors that this model compares"
        " are its inputs'. Take models.ItemCodeDecoder for codes alone."
      )

  def setup(self):
    super().setup()
    self.vector_out = nn.Dense(self.width, use_bias=False)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {"vector_out/kernel": ("width", None), **super().logical_axes}

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, M, C) and queries (B, L, D) of each place's next item."""
    outputs = super().__call__(batch, deterministic=deterministic)
    return dataclasses.replace(outputs, query=self._vector(outputs.hidden))

  def start_from(
    self, batch: Batch, vectors_RD: Float[Array, "R D"]
  ) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """As start: inputs are looked up, so there is nothing to encode anew."""
    del vectors_RD
    return self.start(batch)

  def history_vector(self, cache: dict[str, Any]) -> Float[Array, "B D"]:
    """Unit vectors of what comes next, by histories alone."""
    return self._vector(cache["state"])

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """The same of a batch: all items may be searched by it, without codes."""
    return self.history_vector(self.start(batch)[0])

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Unit vectors of the ids, or of the whole table for None."""
    return l2_normalize(super().items(ids))

  def _vector(self, h: Float[Array, "*b D"]) -> Float[Array, "*b D"]:
    return l2_normalize(self.vector_out(h.astype(jnp.float32)))
