# SPDX-License-Identifier: Apache-2.0
"""A feed-forward part of its own for each slot of a row of vectors.

    v_s = (act(x_s W_in,s + b_in,s) [* x_s W_linear,s]) W_out,s + b_out,s

Slots are kinds of features, and no positions of a sequence: their number is
fixed, and what is done with one has nothing to do with another (RankMixer,
arXiv 2507.15551: per-token FFN; gated and without biases TokenMixer-Large,
arXiv 2602.06563). All slots are one batched product.
Shapes: S slots of width D, inner width F.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.option_checks import check_counts, check_positive


class SlotFeedForward(nn.Module):
  """See the module docstring.

  Attributes:
    hidden_width: F.
    gated: with the product by W_linear.
    bias: with b_in and b_out.
    activation: name of a flax.linen activation.
    out_scale: of W_out at the start, over what keeps the variance.
    shared: one for all slots, which then need not differ.
    dtype: of the products; parameters are float32.
  """

  hidden_width: int
  gated: bool = False
  bias: bool = True
  activation: str = "gelu"
  out_scale: float = 1.0
  shared: bool = False
  dtype: str = "float32"

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    slot = None if self.shared else "slot"
    return {
      "slot_in": (slot, "width", "hidden"),
      "slot_linear": (slot, "width", "hidden"),
      "slot_out": (slot, "hidden", "width"),
      "slot_in_bias": (slot, "hidden"),
      "slot_out_bias": (slot, None),
    }

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, "config.system.slots", "hidden_width")
    check_positive(self, "config.system.slots", "out_scale")

  @nn.compact
  def __call__(
    self, x_SD: Float[Array, "*b S D"], deterministic: bool = True
  ) -> Float[Array, "*b S D"]:
    """Every slot by its own matrices, width kept; nothing is dropped out."""
    del deterministic
    slots, width = x_SD.shape[-2:]
    slots = 1 if self.shared else slots
    x_SD = x_SD.astype(self.dtype)

    def product(name, z, features, scale=1.0):
      std = scale * z.shape[-1] ** -0.5
      shape = (slots, z.shape[-1], features)
      weight = self.param(name, nn.initializers.normal(std), shape)
      weight = weight.astype(self.dtype)
      if self.shared:
        y = jnp.einsum("...sd,df->...sf", z, weight[0])
      else:
        y = jnp.einsum("...sd,sdf->...sf", z, weight)
      if not self.bias or name == "slot_linear":
        return y
      bias_SF = self.param(
        f"{name}_bias", nn.initializers.zeros, (slots, features)
      )
      lead = (1,) * (y.ndim - 2)
      return y + bias_SF.astype(self.dtype).reshape(*lead, slots, features)

    h = getattr(nn, self.activation)(
      product("slot_in", x_SD, self.hidden_width)
    )
    if self.gated:
      h = h * product("slot_linear", x_SD, self.hidden_width)
    return product("slot_out", h, width, self.out_scale)
