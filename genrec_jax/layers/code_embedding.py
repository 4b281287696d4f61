# SPDX-License-Identifier: Apache-2.0
"""One table for the codes of all levels, and the heads that predict them.

    E (C_0 + ... + C_{M-1}, D)    code c of level m: row C_0 + .. + C_{m-1} + c
    logits_m[c] = <h, E[m, c]> / sqrt(D)     tied, as in T5
    logits_m[c] = <h, F[m, c]>               with a table F of its own

Levels are vocabularies of their own: a softmax never spans two.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.precision import SCORES

# A logit that stands for "no such code": levels may differ in size.
_NO_CODE = -1e9


class CodeEmbedding(nn.Module):
  """See the module docstring.

  Attributes:
    level_sizes: codes of each level.
    width: D.
    init_std: of the inputs' table.
    tied: whether outputs use it too.
  """

  level_sizes: tuple[int, ...]
  width: int
  init_std: float = 1.0
  tied: bool = True

  def setup(self):
    shape = (sum(self.level_sizes), self.width)
    self.embedding = self.param(
      "embedding", nn.initializers.normal(self.init_std), shape, jnp.float32
    )
    if not self.tied:
      self.output = self.param(
        "output",
        nn.initializers.normal(self.width**-0.5),
        shape,
        jnp.float32,
      )

  @property
  def _starts(self) -> np.ndarray:
    return np.cumsum([0, *self.level_sizes[:-1]])

  def __call__(
    self, codes: Int[Array, "..."], level: int
  ) -> Float[Array, "... D"]:
    """Vectors of the codes of one level."""
    return self.embedding[codes + int(self._starts[level])]

  def all_levels(self, codes: Int[Array, "... M"]) -> Float[Array, "... M D"]:
    """Vectors of the codes of all levels."""
    starts = jnp.asarray(self._starts, jnp.int32)
    return self.embedding[
      codes + starts.reshape((1,) * (codes.ndim - 1) + (-1,))
    ]

  def logits(
    self, h: Float[Array, "... D"], level: int
  ) -> Float[Array, "... C"]:
    """Float32 logits of one level's codes, C = that level's size."""
    start = int(self._starts[level])
    table = self._heads()[start : start + self.level_sizes[level]]
    return jnp.matmul(h.astype(jnp.float32), table.T, precision=SCORES)

  def all_logits(self, h: Float[Array, "... M D"]) -> Float[Array, "... M C"]:
    """Logits of every level, C = the largest size; -1e9 beyond a level's."""
    widest = max(self.level_sizes)
    parts = []
    for level, size in enumerate(self.level_sizes):
      logits = self.logits(h[..., level, :], level)
      missing = [(0, 0)] * (logits.ndim - 1) + [(0, widest - size)]
      parts.append(jnp.pad(logits, missing, constant_values=_NO_CODE))
    return jnp.stack(parts, axis=-2)

  def _heads(self):
    return self.embedding * self.width**-0.5 if self.tied else self.output
