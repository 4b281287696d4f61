# SPDX-License-Identifier: Apache-2.0
"""Context as keys and values, made once for all layers of a decoder.

    z          = x,  or  W_2 leaky_relu(W_1 x + b_1) + b_2
    C_0 C_1 .. = z W                          chunks of G E
    k_l, v_l   = RMSNorm(C_2l), RMSNorm(C_2l+1)
    k_l = v_l  = RMSNorm(C_l)                 with shared values

A token's keys and values depend on that token alone: nothing in here mixes
tokens, and nothing says where they stand. Every chunk has a scale of its own
in the norm. OneRec-V2 (arXiv 2508.20900, section 2), whose tokens of events
come of two dense layers (OneRec's technical report, arXiv 2506.13695).

Shapes: B rows, N tokens of width W, sets l of G heads of E.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from genrec_jax.ops.beam_attention import KeysValues

# Dimensions of the matrices, by which a mesh splits them.
LOGICAL_AXES = {
  "context/event_in/kernel": ("width", "hidden"),
  "context/event_out/kernel": ("hidden", "width"),
  "context/project/kernel": ("width", None),
}


class ContextKeys(nn.Module):
  """See the module docstring.

  Attributes:
    width: of what is projected, where there is a hidden part.
    num_sets: of keys and values.
    num_key_heads: G.
    head_width: E.
    shared_values: values are the keys.
    hidden_width: of the two dense layers; 0 = x is projected as it is.
    dtype: of the products; parameters are float32.
  """

  width: int
  num_sets: int
  num_key_heads: int
  head_width: int
  shared_values: bool = True
  hidden_width: int = 0
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x_BNW: Float[Array, "B N W"]) -> Float[Array, "B N C"]:
    """Keys and values of all sets, side by side."""
    z = x_BNW
    if self.hidden_width:
      h = nn.Dense(self.hidden_width, dtype=self.dtype, name="event_in")(z)
      h = nn.leaky_relu(h)
      z = nn.Dense(self.width, dtype=self.dtype, name="event_out")(h)
    chunks = self.num_sets * (1 if self.shared_values else 2)
    inner = self.num_key_heads * self.head_width
    y = nn.Dense(
      chunks * inner,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=nn.initializers.normal(z.shape[-1] ** -0.5),
      name="project",
    )(z)
    norm = nn.RMSNorm(
      reduction_axes=-1, feature_axes=(-2, -1), dtype=self.dtype, name="norm"
    )
    y = norm(y.reshape(*y.shape[:2], chunks, inner))
    return y.reshape(*y.shape[:2], -1)

  def sets(self, kept_BNC: Float[Array, "B N C"]) -> list[KeysValues]:
    """Keys and values of each set, (B, N, G, E), of what the call gave."""
    shape = (*kept_BNC.shape[:2], -1, self.num_key_heads, self.head_width)
    chunks = kept_BNC.reshape(shape)
    each = 1 if self.shared_values else 2
    return [
      (chunks[:, :, each * i], chunks[:, :, each * i + each - 1])
      for i in range(self.num_sets)
    ]
