# SPDX-License-Identifier: Apache-2.0
"""A vector for every node of a tree of codes, and logits of its children.

    node of depth m     its whole path c_0 .. c_{m-1}, numbered in mixed radix
    logits_m[c]         <h, E_m[path, c]>        c a child of the path's node

No code is shared between subtrees, unlike the tables of code_embedding.py: the
first level has C_0 vectors, the second C_0 C_1, and the last as many as there
may be items. Inputs and outputs are one table (SEATER, arXiv 2309.13375).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.precision import SCORES


class NodeEmbedding(nn.Module):
  """See the module docstring.

  Attributes:
    level_sizes: children of a node, by level.
    width: D.
    init_std: of the table.
  """

  level_sizes: tuple[int, ...]
  width: int
  init_std: float = 0.05

  def __post_init__(self):
    super().__post_init__()
    if np.cumprod(np.array(self.level_sizes, object)).sum() >= 2**31:
      raise ValueError(
        f"level_sizes={tuple(self.level_sizes)} make more nodes than int32"
        " counts: a tree with a vector per node is for as many as there are"
        " items."
      )

  def setup(self):
    shape = (int(np.cumprod(self.level_sizes).sum()), self.width)
    self.embedding = self.param(
      "embedding", nn.initializers.normal(self.init_std), shape, jnp.float32
    )

  @property
  def _starts(self) -> np.ndarray:
    return np.cumsum([0, *np.cumprod(self.level_sizes)[:-1]])

  def nodes(self, codes: Int[Array, "... M"]) -> Int[Array, "... M"]:
    """Row of the table of every node on the way to an item's leaf."""
    rows, path = [], jnp.zeros(codes.shape[:-1], jnp.int32)
    for level in range(len(self.level_sizes)):
      path = self.child(path, level, codes[..., level])
      rows.append(path + int(self._starts[level]))
    return jnp.stack(rows, axis=-1)

  def child(
    self, path: Int[Array, "..."], level: int, codes: Int[Array, "..."]
  ) -> Int[Array, "..."]:
    """Number, within its depth, of the node that a code of a level leads to."""
    return path * self.level_sizes[level] + codes

  def __call__(
    self, path: Int[Array, "..."], level: int
  ) -> Float[Array, "... D"]:
    """Vectors of nodes behind a level, numbered within their depth."""
    return self.embedding[path + int(self._starts[level])]

  def all_levels(self, codes: Int[Array, "... M"]) -> Float[Array, "... M D"]:
    """Vectors of all nodes on the way to each leaf."""
    return self.embedding[self.nodes(codes)]

  def logits(
    self, h: Float[Array, "... D"], level: int, path: Int[Array, "..."]
  ) -> Float[Array, "... C"]:
    """Float32 logits of the children of nodes, numbered within their depth."""
    first = path * self.level_sizes[level] + int(self._starts[level])
    children = jnp.arange(self.level_sizes[level], dtype=jnp.int32)
    children = children.reshape((1,) * first.ndim + (-1,))
    table = self.embedding[first[..., None] + children]
    return jnp.einsum(
      "...D,...CD->...C", h.astype(jnp.float32), table, precision=SCORES
    )

  def all_logits(
    self, h: Float[Array, "... M D"], codes: Int[Array, "... M"]
  ) -> Float[Array, "... M C"]:
    """Logits of every level's children, C = the largest; -1e9 beyond."""
    widest, parts = max(self.level_sizes), []
    path = jnp.zeros(codes.shape[:-1], jnp.int32)
    for level, size in enumerate(self.level_sizes):
      logits = self.logits(h[..., level, :], level, path)
      missing = [(0, 0)] * (logits.ndim - 1) + [(0, widest - size)]
      parts.append(jnp.pad(logits, missing, constant_values=-1e9))
      path = self.child(path, level, codes[..., level])
    return jnp.stack(parts, axis=-2)
