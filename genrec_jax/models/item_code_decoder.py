# SPDX-License-Identifier: Apache-2.0
"""Histories of items, and the next item's codes generated from their state.

    x_i = scale * E[item_i] + sum_m C_m[code_m(i)] + P[position_i]
    h_i = backbone(x)_i
    p(codes of the next) = prod_m softmax(<z_m(h_i, codes before m), F_m>)

Inputs carry a vector per item beside its codes, and are one place per item; the
codes of the next item come one from another by a small MLP per level
(layers/code_mlps.py), as in a depth Transformer (Lee et al., arXiv 2203.01941)
without its attention. The list is ordered by the probability of codes alone.
Any backbone of next-item models serves, with its biases of time.

A history is read once and the beams share its state, so a search of many beams
costs their MLPs alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.code_embedding import CodeEmbedding
from genrec_jax.layers.code_mlps import CodeMlps
from genrec_jax.layers.dropout import Dropout
from genrec_jax.models.next_item import NextItem
from genrec_jax.ops.packed_rows import last_of_rows


class ItemCodeDecoder(NextItem, kw_only=True):
  """See the module docstring.

  Attributes:
    level_sizes: C of each level.
    hidden_width: of the MLPs of levels.
    item_inputs: whether inputs have a learned vector per item; without one an
      item is its codes.
    code_inputs: whether inputs have the codes' vectors.
    head_dropout: in the MLPs, and on states before them.
  """

  level_sizes: tuple[int, ...]
  hidden_width: int = 256
  item_inputs: bool = True
  code_inputs: bool = True
  head_dropout: float = 0.0
  normalize: bool = False

  # What it says of a history is no query.
  resumes = False

  def __post_init__(self):
    super().__post_init__()
    if not (self.item_inputs or self.code_inputs):
      raise ValueError(
        "config.system: with item_inputs=False and code_inputs=False nothing"
        " says what an item is."
      )

  @property
  def item_tables(self):
    """Of items, for a warm start; () where items are their codes."""
    return NextItem.item_tables if self.item_inputs else ()

  def setup(self):
    super().setup()
    self.codes = CodeEmbedding(
      self.level_sizes, self.width, self.embedding_init_std, tied=False
    )
    self.levels = CodeMlps(
      self.num_answers, self.width, self.hidden_width, self.head_dropout
    )
    self.head_drop = Dropout(self.head_dropout)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      "codes/embedding": (None, "width"),
      "codes/output": (None, "width"),
      **CodeMlps.logical_axes,
      **super().logical_axes,
    }

  @property
  def num_levels(self) -> int:
    """M."""
    return len(self.level_sizes)

  @property
  def num_answers(self) -> int:
    """What is read of a state, one after the other: M codes."""
    return self.num_levels

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, M, C) of each place's next item, its codes given."""
    h_BLD = self._states(batch, deterministic)
    h_BLD = self.head_drop(h_BLD, deterministic=deterministic)
    codes_BLMD = self.codes.all_levels(batch["target_codes_BSM"])
    z_BLMD = jnp.stack(
      [
        self.levels(h_BLD, codes_BLMD[..., :m, :], deterministic=deterministic)
        for m in range(self.num_levels)
      ],
      axis=-2,
    )
    return Outputs(hidden=h_BLD, logits=self.codes.all_logits(z_BLMD))

  def start(self, batch: Batch) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """The state of each row's history, and logits of the first level."""
    h_BLD = self._states(batch, True)
    h_BD = last_of_rows(h_BLD, batch["segment_ids_BL"])
    none_B1D = jnp.zeros((h_BD.shape[0], 1, 0, self.width), jnp.float32)
    z_BD = self.levels(h_BD, none_B1D[:, 0], deterministic=True)
    cache = {"state": h_BD, "before": none_B1D}
    return cache, self.codes.logits(z_BD, 0)

  def step(
    self,
    cache: dict[str, Any],
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[dict[str, Any], Float[Array, "B K C"]]:
    """Logits of a level after each beam's code of the level before."""
    cache, z_BKD = self._next(cache, level, codes_BK, parents_BK)
    return cache, self.codes.logits(z_BKD, level)

  def _next(self, cache, level, codes_BK, parents_BK):
    """The cache with one more code, and what is read behind it."""
    before_BKMD = jnp.take_along_axis(
      cache["before"], parents_BK[:, :, None, None], axis=1
    )
    last_BKD = self.codes(codes_BK, level - 1)
    before_BKMD = jnp.concatenate([before_BKMD, last_BKD[:, :, None]], axis=2)
    h_BKD = jnp.broadcast_to(cache["state"][:, None], last_BKD.shape)
    z_BKD = self.levels(h_BKD, before_BKMD, deterministic=True)
    return {**cache, "before": before_BKMD}, z_BKD

  def _states(self, batch: Batch, deterministic: bool) -> Array:
    return super().__call__(batch, deterministic=deterministic).query

  def embed(self, batch: Batch) -> Float[Array, "B L D"]:
    """Vectors of the inputs, without their positions."""
    parts = []
    if self.item_inputs:
      parts.append(super().embed(batch))
    if self.code_inputs:
      codes_BLMD = self.codes.all_levels(batch["codes_BLM"])
      parts.append(jnp.sum(codes_BLMD, axis=2))
    return jax.tree.reduce(jnp.add, parts)
