# SPDX-License-Identifier: Apache-2.0
"""Products of pairs of feature vectors, without going through the pairs.

    pair_sum   sum_{i<j} x_i * x_j = ((sum_i x_i)^2 - sum_i x_i^2) / 2
    pair_dots  <x_i, x_j> for i > j                 F (F - 1) / 2 numbers
    projected_dots  X X^T Y = X (X^T Y)             for Y (F, K)

The first costs F D instead of F^2 D (Rendle, ICDM 2010; entrywise, its sum over
D is the second-order term of a factorisation machine), the last F D K instead
of F^2 (D + K) (Wukong, arXiv 2403.02545, section 3). Leading dimensions are
free: x is (..., F, D).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np


def pair_sum(x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b D"]:
  """Sum over all pairs of features of their entrywise product."""
  total_D = jnp.sum(x_FD, axis=-2)
  squares_D = jnp.sum(jnp.square(x_FD), axis=-2)
  return (jnp.square(total_D) - squares_D) / 2


def pair_dots(x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b P"]:
  """Dot products of all pairs, by rows of the strict lower triangle."""
  dots_FF = jnp.einsum("...fd,...gd->...fg", x_FD, x_FD)
  later, earlier = np.tril_indices(x_FD.shape[-2], -1)
  return dots_FF[..., later, earlier]


def projected_dots(
  x_FD: Float[Array, "*b F D"], y_FK: Float[Array, "F K"]
) -> Float[Array, "*b F K"]:
  """All dot products, themselves projected from F to K."""
  compressed_DK = jnp.einsum("...fd,fk->...dk", x_FD, y_FK)
  return jnp.einsum("...fd,...dk->...fk", x_FD, compressed_DK)
