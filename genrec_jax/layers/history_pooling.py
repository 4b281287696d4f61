# SPDX-License-Identifier: Apache-2.0
"""A user's history as one vector: summed, or weighted by the candidate.

    SumPooling        u = sum_j v_j
    TargetAttention   u = sum_j a(e_j, c) v_j
                      a = W MLP([e_j, p(e_j, c), c]) + b     one number
                      p = vec(e_j c^T)              OuterProduct, as published
                      p = [e_j - c, e_j * c]        DifferenceProduct

DIN (Zhou et al., KDD 2018, section 4.3). The paper takes no softmax over j, so
that u grows with how much of the history is like c; its authors' public code
divides by sqrt(E), takes one, and uses the second p. e_j = v_j: item and action
of event j; c: the candidate. Padding has weight 0; an empty history gives 0.

    history (..., H, E), candidate (..., E), where (..., H) -> (..., E)
"""

from collections.abc import Callable
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.layers.mlp import Mlp

_NOWHERE = -1e9


class SumPooling(nn.Module):
  """Adds the events up; the candidate is not asked."""

  @nn.compact
  def __call__(
    self,
    history_HE: Float[Array, "*b H E"],
    candidate_E: Float[Array, "*b E"],
    where_H: Bool[Array, "*b H"],
  ) -> Float[Array, "*b E"]:
    """Sum of the events where `where` holds."""
    del candidate_E
    return jnp.sum(jnp.where(where_H[..., None], history_HE, 0), axis=-2)


@dataclasses.dataclass(frozen=True)
class OuterProduct:
  """All products of an entry of e and one of c: E^2 numbers."""

  def __call__(
    self, e: Float[Array, "*b E"], c: Float[Array, "*b E"]
  ) -> Float[Array, "*b P"]:
    """vec(e c^T)."""
    product = e[..., :, None] * c[..., None, :]
    return product.reshape(*e.shape[:-1], -1)


@dataclasses.dataclass(frozen=True)
class DifferenceProduct:
  """Difference and entrywise product: 2 E numbers."""

  def __call__(
    self, e: Float[Array, "*b E"], c: Float[Array, "*b E"]
  ) -> Float[Array, "*b P"]:
    """[e - c, e * c]."""
    return jnp.concatenate([e - c, e * c], axis=-1)


class TargetAttention(nn.Module):
  """See the module docstring.

  Attributes:
    widths: of the activation unit's hidden layers.
    pair: p; what the unit reads of both vectors together.
    softmax: weights are a softmax over the history of a / sqrt(E).
    dtype: of the unit; weights are float32.
  """

  widths: tuple[int, ...] = (80, 40)
  pair: Callable[..., Array] = DifferenceProduct()
  softmax: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    history_HE: Float[Array, "*b H E"],
    candidate_E: Float[Array, "*b E"],
    where_H: Bool[Array, "*b H"],
  ) -> Float[Array, "*b E"]:
    """Events weighted by how they go with the candidate."""
    c_HE = jnp.broadcast_to(candidate_E[..., None, :], history_HE.shape)
    pairs = [history_HE, self.pair(history_HE, c_HE), c_HE]
    hidden = Mlp(self.widths, dtype=self.dtype, name="unit")(
      jnp.concatenate(pairs, axis=-1)
    )
    a_H = nn.Dense(1, dtype=self.dtype, name="weight")(hidden)[..., 0]
    a_H = a_H.astype(jnp.float32)
    if self.softmax:
      a_H = a_H * history_HE.shape[-1] ** -0.5
      # Finite: an empty history's softmax is even, and masked below.
      a_H = jax.nn.softmax(jnp.where(where_H, a_H, _NOWHERE), axis=-1)
    a_H = jnp.where(where_H, a_H, 0.0)
    return jnp.einsum("...h,...he->...e", a_H, history_HE)
