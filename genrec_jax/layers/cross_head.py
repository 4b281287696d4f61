# SPDX-License-Identifier: Apache-2.0
"""Hidden state -> one logit per action by explicit products: DCN-v2 as a head.

    parallel   z_t = w_t [cross(h), MLP(h)] + b_t
    stacked    z_t = w_t MLP(cross(h)) + b_t

cross is DCN-v2's network (layers/interactions.py; arXiv 2008.13535, which has
both forms). Beside layers/action_heads.py, whose contract it has: head(h_BLD,
deterministic) -> logits (B, L, T) in float32, of float32 products. Here h is a
hidden state and features side by side (arXiv 2602.12354, late fusion).
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.layers.interactions import CrossNetwork
from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.precision import SCORES

_FORMS = ("parallel", "stacked")


class CrossHead(nn.Module):
  """See the module docstring.

  Attributes:
    num_tasks: T.
    num_layers: of the cross network.
    widths: of the MLP's hidden layers.
    form: "parallel" or "stacked".
    rank: of the cross layers' matrices; None = full.
    dropout: after each hidden layer of the MLP.
  """

  num_tasks: int
  num_layers: int
  widths: tuple[int, ...]
  form: str = "parallel"
  rank: int | None = None
  dropout: float = 0.0

  # The first that matches counts.
  logical_axes = {
    "heads/cross/*/kernel": (None, None),
    "heads/mlp/Dense_0/kernel": (None, "hidden"),
    "heads/mlp/Dense_*/kernel": ("hidden", None),
    "heads/out/kernel": (None, None),
  }

  def __post_init__(self):
    super().__post_init__()
    if self.form not in _FORMS:
      raise ValueError(
        f"config.system.heads.form={self.form!r} is no form of a cross head."
        + choices_hint(self.form, _FORMS)
      )
    options = ("num_layers", *(("rank",) if self.rank is not None else ()))
    check_counts(self, "config.system.heads", *options)

  @nn.compact
  def __call__(
    self, h_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L T"]:
    """See the module docstring."""
    h_BLD = h_BLD.astype(jnp.float32)
    # A state is one vector to the network, in place of one per feature.
    crossed_BLD = CrossNetwork(
      self.num_layers, self.rank, precision=SCORES, name="cross"
    )(h_BLD[:, :, None])
    mlp = Mlp(self.widths, self.dropout, precision=SCORES, name="mlp")
    if self.form == "stacked":
      out_BLE = mlp(crossed_BLD, deterministic=deterministic)
    else:
      hidden_BLE = mlp(h_BLD, deterministic=deterministic)
      out_BLE = jnp.concatenate([crossed_BLD, hidden_BLE], axis=-1)
    return nn.Dense(
      self.num_tasks,
      kernel_init=nn.initializers.normal(0.02),
      precision=SCORES,
      name="out",
    )(out_BLE)
