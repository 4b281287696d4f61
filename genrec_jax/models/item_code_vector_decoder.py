# SPDX-License-Identifier: Apache-2.0
"""One state of a history, and two answers: codes of the next item, a vector.

    p(codes)   as in item_code_decoder.py, from the state h
    v^         unit(W h)                        vector_from="history"
               unit(W z_M(h, all codes))        vector_from="codes"
                                                compared with unit(E[v])

E is the table that histories are read with, so that both losses train one
vector per item. A vector of the history ranks what beams of codes propose
(retrieval/beam_union.py), as in LIGER (Yang et al., arXiv 2411.18814, section
4); one that is read behind the codes says which of a cluster's items is meant
(retrieval/beam_fusion.py), as in COBRA (Yang et al., arXiv 2503.02453), where
codes are coarse. There a place is a code or a vector, here it is an item.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.models.item_code_decoder import ItemCodeDecoder
from genrec_jax.models.vector_place import check_of_history, check_vector_from
from genrec_jax.ops.norm import l2_normalize


class ItemCodeVectorDecoder(ItemCodeDecoder, kw_only=True):
  """See the module docstring.

  Attributes:
    vector_from: "history" or "codes": what the vector is read of.
  """

  vector_from: str = "history"

  def __post_init__(self):
    super().__post_init__()
    check_vector_from(self.vector_from)
    if not self.item_inputs:
      raise ValueError(
        "config.system.item_inputs=False: the vectors that this model compares"
        " are its inputs'. Take models.ItemCodeDecoder for codes alone."
      )

  def setup(self):
    super().setup()
    self.vector_out = nn.Dense(self.width, use_bias=False)

  @property
  def num_answers(self) -> int:
    """Codes, and what a vector behind them is made of."""
    return self.num_levels + (self.vector_from == "codes")

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {"vector_out/kernel": ("width", None), **super().logical_axes}

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, M, C) and queries (B, L, D) of each place's next item."""
    outputs = super().__call__(batch, deterministic=deterministic)
    h_BLD = outputs.hidden
    if self.vector_from == "codes":
      codes_BLMD = self.codes.all_levels(batch["target_codes_BSM"])
      h_BLD = self.levels(h_BLD, codes_BLMD, deterministic=deterministic)
    return dataclasses.replace(outputs, query=self._vector(h_BLD))

  def start_from(
    self, batch: Batch, vectors_RD: Float[Array, "R D"]
  ) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """As start: inputs are looked up, so there is nothing to encode anew."""
    del vectors_RD
    return self.start(batch)

  def check_history_vector(self) -> None:
    """Raises a ValueError where the vector is read behind codes."""
    check_of_history(self, self.vector_from == "history")

  def history_vector(self, cache: dict[str, Any]) -> Float[Array, "B D"]:
    """Unit vectors of what comes next, by histories alone.

    Raises:
      ValueError: a vector that is read behind codes.
    """
    self.check_history_vector()
    return self._vector(cache["state"])

  def beam_vectors(
    self,
    cache: dict[str, Any],
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> Float[Array, "B K D"]:
    """Unit vectors of beams, after their codes of the last level."""
    if self.vector_from == "history":
      vector_B1D = self.history_vector(cache)[:, None]
      return jnp.broadcast_to(vector_B1D, (*codes_BK.shape, self.width))
    _, z_BKD = self._next(cache, self.num_levels, codes_BK, parents_BK)
    return self._vector(z_BKD)

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
