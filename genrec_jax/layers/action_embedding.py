# SPDX-License-Identifier: Apache-2.0
"""What a user did with an item, as a vector: a bit mask -> D.

    a = W sum over set bits t of e_t + b        e_t of a few dimensions

Actions are combined, not enumerated: "click and like" shares what it has in
common with "click". b is the vector of an event without any signal, a skip.
HSTU's public code joins one small vector per bit likewise (arXiv 2402.17152).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class ActionEmbedding(nn.Module):
  """Embeds bit masks of actions.

  Attributes:
    num_actions: bits of a mask.
    width: D.
    bit_width: of the vector of a bit.
    init_std: of the vectors of bits.
  """

  num_actions: int
  width: int
  bit_width: int = 8
  init_std: float = 1.0

  logical_axes = {
    "action_embedding/bits/embedding": (None, None),
    "action_embedding/up/kernel": (None, "width"),
  }

  @nn.compact
  def __call__(self, mask_BL: Int[Array, "B L"]) -> Float[Array, "B L D"]:
    """Vectors of the masks, in float32."""
    shift_T = jnp.arange(self.num_actions, dtype=mask_BL.dtype)
    bits_BLT = jnp.right_shift(mask_BL[:, :, None], shift_T[None, None, :]) & 1
    table_TE = nn.Embed(
      self.num_actions,
      self.bit_width,
      embedding_init=nn.initializers.normal(self.init_std),
      name="bits",
    ).embedding
    sum_BLE = jnp.einsum("blt,te->ble", bits_BLT.astype(jnp.float32), table_TE)
    return nn.Dense(
      self.width, kernel_init=nn.initializers.normal(0.02), name="up"
    )(sum_BLE)
