# SPDX-License-Identifier: Apache-2.0
"""How the feature vectors of an impression meet: (..., F, D) -> (..., E).

    Concat                [x_1, .., x_F]
    FactorizationMachine  [x, sum_{i<j} x_i * x_j]          E = F D + D
    DotInteraction        [x, <x_i, x_j> for i > j]         E = F D + F (F-1)/2
    CrossNetwork          z <- x * (W z + b) + z            E = F D
    Wukong                X <- LN([FMB(X), LCB(X)] + X)     E = n D
        FMB(X) = reshape(W MLP(LN(vec(X X^T Y))) + b) (n_F, D)
        LCB(X) = W_L X  (n_L, D)

Rendle, ICDM 2010; DLRM, arXiv 1906.00091; DCN-v2, arXiv 2008.13535 (W = U V
where a rank is given); Wukong, arXiv 2403.02545, section 3: layer i holds
products of up to 2^i features. All features here are embedded, so the vectors
themselves stand where DLRM puts the output of its MLP over dense features.
Interactions of tokens that are made of features: layers/mixing_stack.py.
"""

from flax import linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.factorization import pair_dots, pair_sum, projected_dots


def _flat(x_FD):
  return x_FD.reshape(*x_FD.shape[:-2], -1)


class Concat(nn.Module):
  """The vectors side by side: what an MLP makes of them is up to it."""

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b E"]:
    """All entries."""
    return _flat(x_FD)


class FactorizationMachine(nn.Module):
  """The vectors, and the sum of the products of their pairs."""

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b E"]:
    """All entries, then the sum over pairs."""
    return jnp.concatenate([_flat(x_FD), pair_sum(x_FD)], axis=-1)


class DotInteraction(nn.Module):
  """The vectors, and the dot products of all pairs."""

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b E"]:
    """All entries, then the strict lower triangle of X X^T."""
    return jnp.concatenate([_flat(x_FD), pair_dots(x_FD)], axis=-1)


class CrossNetwork(nn.Module):
  """Explicit products: one degree more with every layer.

  Attributes:
    num_layers: their number.
    rank: of W; None for a full matrix.
    dtype: of the products; parameters are float32.
    precision: of the products; None = the device's default.
  """

  num_layers: int
  rank: int | None = None
  dtype: str = "float32"
  precision: lax.Precision | None = None

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b E"]:
    """z after the last layer."""
    x = z = _flat(x_FD)
    how = {"dtype": self.dtype, "precision": self.precision}
    for layer in range(self.num_layers):
      y = z
      if self.rank is not None:
        y = nn.Dense(self.rank, use_bias=False, name=f"down_{layer}", **how)(y)
      y = nn.Dense(x.shape[-1], name=f"cross_{layer}", **how)(y)
      z = x * y + z
    return z


class Wukong(nn.Module):
  """A stack of layers of factorisation machines.

  Attributes:
    num_layers: their number.
    num_products: n_F, vectors that a layer makes of pairs.
    num_linear: n_L, vectors that it recombines linearly.
    rank: K, columns of Y.
    widths: of the MLP's hidden layers.
    dtype: of the products; parameters and norms are float32.
  """

  num_layers: int
  num_products: int = 8
  num_linear: int = 8
  rank: int = 8
  widths: tuple[int, ...] = (128,)
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b E"]:
    """The last layer's n_F + n_L vectors, side by side."""
    for layer in range(self.num_layers):
      products = self._products(x_FD, layer)
      linear = self._mix(f"linear_{layer}", x_FD, self.num_linear)
      new_FD = jnp.concatenate([products, linear], axis=-2)
      if x_FD.shape != new_FD.shape:
        x_FD = self._mix(f"residual_{layer}", x_FD, new_FD.shape[-2])
      x_FD = nn.LayerNorm(name=f"norm_{layer}")(new_FD + x_FD)
    return _flat(x_FD)

  def _products(self, x_FD, layer):
    """FMB: vectors made of the dot products of all pairs."""
    y_FK = self.param(
      f"project_{layer}",
      nn.initializers.lecun_normal(),
      (x_FD.shape[-2], self.rank),
    )
    dots = _flat(projected_dots(x_FD, y_FK.astype(x_FD.dtype)))
    dots = nn.LayerNorm(name=f"products_norm_{layer}")(dots)
    h = Mlp(self.widths, dtype=self.dtype, name=f"products_mlp_{layer}")(dots)
    out = self.num_products * x_FD.shape[-1]
    h = nn.Dense(out, dtype=self.dtype, name=f"products_{layer}")(h)
    return h.reshape(*x_FD.shape[:-2], self.num_products, -1)

  def _mix(self, name, x_FD, count):
    """LCB: `count` linear combinations of the vectors."""
    init = nn.initializers.lecun_normal()
    weight_FN = self.param(name, init, (x_FD.shape[-2], count))
    return jnp.einsum("...fd,fn->...nd", x_FD, weight_FN.astype(x_FD.dtype))
