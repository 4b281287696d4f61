# SPDX-License-Identifier: Apache-2.0
"""Dropout as a layer, with the masks of ops/dropout_mask.py."""

from flax import linen as nn
from jaxtyping import Array, Float

from genrec_jax.ops.dropout_mask import drop


class Dropout(nn.Module):
  """Takes the place of nn.Dropout, and draws from the same stream.

  Attributes:
    rate: share of entries that is dropped, below 1.
    deterministic: nothing is dropped; here or in the call.
  """

  rate: float
  deterministic: bool | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "..."], deterministic: bool | None = None
  ) -> Float[Array, "..."]:
    """x with some entries 0 and the others scaled up."""
    deterministic = nn.merge_param(
      "deterministic", self.deterministic, deterministic
    )
    if self.rate == 0 or deterministic:
      return x
    return drop(self.make_rng("dropout"), self.rate, x)
