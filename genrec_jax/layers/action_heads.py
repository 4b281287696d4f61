# SPDX-License-Identifier: Apache-2.0
"""Hidden state -> one logit per action: linear, MLPs, or MMoE.

    LinearHead    z_t = w_t h + b_t
    SharedMlp z_t = w_t MLP(h) + b_t
    TaskMlp   z_t = w_t relu(W_t h) + b_t
    MMoE      z_t = tower_t(sum_e softmax(G_t h)_e expert_e(h))

All answer head(h_BLD, deterministic) -> logits (B, L, T) in float32, made of
float32 products on every device (ops/precision.py). MMoE is Ma et al., KDD
2018; a dropped gate hides an expert from a task for one step (what is left
shares the weight), so that none comes to rule a task.

The axis that a head reads has no name and is not split: it is hidden states
and features side by side, as wide as there are features.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.layers.mlp import Mlp
from genrec_jax.ops.precision import SCORES

# Far below any gate's score, and finite.
_DROPPED = -1e9


class LinearHead(nn.Module):
  """One matrix for all tasks."""

  num_tasks: int

  logical_axes = {"heads/out/kernel": (None, None)}

  @nn.compact
  def __call__(
    self, h_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L T"]:
    """See the module docstring."""
    del deterministic
    init = nn.initializers.normal(0.02)
    out = nn.Dense(
      self.num_tasks, kernel_init=init, precision=SCORES, name="out"
    )
    return out(h_BLD.astype(jnp.float32))


class SharedMlp(nn.Module):
  """One MLP for all tasks, then one matrix.

  Attributes:
    num_tasks: T.
    widths: of the hidden layers.
    dropout: after each of them.
  """

  num_tasks: int
  widths: tuple[int, ...]
  dropout: float = 0.0

  # The first that matches counts.
  logical_axes = {
    "heads/mlp/Dense_0/kernel": (None, "hidden"),
    "heads/mlp/Dense_*/kernel": ("hidden", None),
    "heads/out/kernel": (None, None),
  }

  @nn.compact
  def __call__(
    self, h_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L T"]:
    """See the module docstring."""
    h_BLD = Mlp(self.widths, self.dropout, precision=SCORES, name="mlp")(
      h_BLD.astype(jnp.float32), deterministic=deterministic
    )
    return nn.Dense(self.num_tasks, precision=SCORES, name="out")(h_BLD)


class _Towers(nn.Module):
  """A hidden layer and a logit per task, of one input each."""

  hidden_width: int

  @nn.compact
  def __call__(self, h_BLTD: Float[Array, "B L T D"]) -> Float[Array, "B L T"]:
    tasks, width = h_BLTD.shape[-2:]
    # One matrix per task: fans are those of a task's own.
    init = nn.initializers.he_normal(in_axis=1, out_axis=2, batch_axis=0)
    shape = (tasks, width, self.hidden_width)
    in_TDF = self.param("hidden", init, shape)
    bias_TF = self.param("hidden_bias", nn.initializers.zeros, shape[::2])
    out_TF = self.param("out", nn.initializers.normal(0.02), shape[::2])
    bias_T = self.param("out_bias", nn.initializers.zeros, (tasks,))
    x_BLTF = jnp.einsum("bltd,tdf->bltf", h_BLTD, in_TDF, precision=SCORES)
    x_BLTF = nn.relu(x_BLTF + bias_TF[None, None])
    logits_BLT = jnp.einsum("bltf,tf->blt", x_BLTF, out_TF, precision=SCORES)
    return logits_BLT + bias_T[None, None]


_TOWER_AXES = {
  "towers/hidden": (None, None, "hidden"),
  "towers/out": (None, "hidden"),
}


class TaskMlp(nn.Module):
  """An MLP of its own for every task."""

  num_tasks: int
  hidden_width: int

  logical_axes = _TOWER_AXES

  @nn.compact
  def __call__(
    self, h_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L T"]:
    """See the module docstring."""
    del deterministic
    shape = (*h_BLD.shape[:2], self.num_tasks, h_BLD.shape[-1])
    h_BLTD = jnp.broadcast_to(h_BLD.astype(jnp.float32)[:, :, None], shape)
    return _Towers(self.hidden_width, name="towers")(h_BLTD)


class MMoE(nn.Module):
  """Experts that all tasks share, weighed by a gate per task.

  Attributes:
    num_tasks: T.
    num_experts: shared by all tasks.
    hidden_width: of an expert and of a tower.
    gate_dropout: rate at which a gate does not see an expert in a step.
    groups: number of each task's gate, 0, 1, ..: tasks of one group share a
      gate, such as passive and active ones; () = a gate per task.
  """

  num_tasks: int
  num_experts: int
  hidden_width: int
  gate_dropout: float = 0.0
  groups: tuple[int, ...] = ()

  logical_axes = {
    **_TOWER_AXES,
    "heads/experts/kernel": (None, "hidden"),
    "heads/gates/kernel": (None, None),
  }

  def __post_init__(self):
    super().__post_init__()
    numbers = set(self.groups)
    if self.groups and (
      len(self.groups) != self.num_tasks or numbers != set(range(len(numbers)))
    ):
      raise ValueError(
        f"config.system.heads.groups={self.groups} must give each of"
        f" {self.num_tasks} tasks one of the numbers 0, 1, ..., all in use."
      )

  @nn.compact
  def __call__(
    self, h_BLD: Float[Array, "B L D"], deterministic: bool
  ) -> Float[Array, "B L T"]:
    """See the module docstring."""
    h_BLD = h_BLD.astype(jnp.float32)
    rows = h_BLD.shape[:2]
    experts_BLEF = nn.relu(
      nn.Dense(
        self.num_experts * self.hidden_width,
        kernel_init=nn.initializers.he_normal(),
        precision=SCORES,
        name="experts",
      )(h_BLD)
    ).reshape(*rows, self.num_experts, self.hidden_width)
    num_gates = len(set(self.groups)) or self.num_tasks
    gates_BLGE = nn.Dense(
      num_gates * self.num_experts,
      kernel_init=nn.initializers.normal(0.02),
      precision=SCORES,
      name="gates",
    )(h_BLD).reshape(*rows, num_gates, self.num_experts)
    if self.gate_dropout > 0 and not deterministic:
      # Drawn per gate and expert: an expert is away for the whole batch. Where
      # all are, all scores are equal and so are the gates.
      keep_GE = jax.random.bernoulli(
        self.make_rng("dropout"), 1 - self.gate_dropout, gates_BLGE.shape[2:]
      )
      gates_BLGE = jnp.where(keep_GE[None, None], gates_BLGE, _DROPPED)
    gates_BLTE = jax.nn.softmax(gates_BLGE)
    if self.groups:
      gates_BLTE = gates_BLTE[:, :, jnp.array(self.groups)]
    mixed_BLTF = jnp.einsum(
      "blte,blef->bltf", gates_BLTE, experts_BLEF, precision=SCORES
    )
    return _Towers(self.hidden_width, name="towers")(mixed_BLTF)
