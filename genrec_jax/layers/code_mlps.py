# SPDX-License-Identifier: Apache-2.0
"""An item's codes from one state: each from the state and the codes before it.

    z_m = h + W_m relu(V_m [h, e_0, .. e_{m-1}])       e_l = embedding of code l
    p(c_m | h, c_0 .. c_{m-1}) = softmax_c(<z_m, F_m[c]>)

One code depends on the others through a small MLP per level, so that a history
is read once for all beams and has one place per item.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.layers.dropout import Dropout


class CodeMlps(nn.Module):
  """See the module docstring.

  Attributes:
    num_levels: M.
    width: D.
    hidden_width: of each level's MLP.
    dropout: within it.
  """

  num_levels: int
  width: int
  hidden_width: int
  dropout: float = 0.0

  logical_axes = {
    "hidden_*/kernel": (None, "hidden"),
    "output_*/kernel": ("hidden", "width"),
  }

  def setup(self):
    self.hidden = [nn.Dense(self.hidden_width) for _ in range(self.num_levels)]
    self.output = [nn.Dense(self.width) for _ in range(self.num_levels)]
    self.drop = Dropout(self.dropout)

  def __call__(
    self,
    h_BD: Float[Array, "*b D"],
    before: Float[Array, "*b m D"],
    *,
    deterministic: bool,
  ) -> Float[Array, "*b D"]:
    """What the code of level m = before.shape[-2] is predicted from.

    Args:
      h_BD: states.
      before: embedded codes of the levels before; none for the first.
      deterministic: no dropout.
    """
    level = before.shape[-2]
    flat = before.reshape(*before.shape[:-2], -1)
    x = nn.relu(self.hidden[level](jnp.concatenate([h_BD, flat], axis=-1)))
    x = self.drop(x, deterministic=deterministic)
    return h_BD + self.output[level](x)
