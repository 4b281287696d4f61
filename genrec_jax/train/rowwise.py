# SPDX-License-Identifier: Apache-2.0
"""Row-wise optimizers: one scalar of second moment per row of a table.

With g the gradient of a row, summed over all its occurrences in the batch, and
mean g^2 over the row's D entries:

    Adagrad   v += mean g^2
              row -= rate * g / (sqrt(v) + eps)
    AdamW     m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) mean g^2
              row -= rate * (m' / (sqrt(v') + eps) + decay * row)

Only rows that the batch looks up change. A row's clock is its own: m', v' are
corrected by the number of steps that touched THIS row, so a rare row's first
step is as long as a frequent one's; where every row is touched in every step it
is Adam with a scalar v. HSTU's authors train so (arXiv 2402.17152, section 3);
the scalar is that of Gupta et al. 2014.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from genrec_jax.train.optimizers import Schedule, warm_schedule

Moments = dict[str, Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Scheduled:
  """A learning rate over steps.

  Attributes:
    learning_rate: the peak.
    warmup_steps: linear from 0 to the peak.
    schedule: what follows (train/optimizers.py); None = constant.
    eps: added to the root of the second moment.
  """

  learning_rate: float
  warmup_steps: int = 0
  schedule: Callable[[float], Schedule] | None = None
  eps: float = 1e-8

  def rate(self, step: Int[Array, ""]) -> Any:
    """Learning rate of a step, counted from 0."""
    return warm_schedule(self.learning_rate, self.warmup_steps, self.schedule)(
      step
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowwiseAdagrad(_Scheduled):
  """Adagrad with a scalar per row."""

  def init(self, rows_RD: Float[Array, "R D"]) -> Moments:
    """The second moment (R,)."""
    return {"second": jnp.zeros(rows_RD.shape[0], jnp.float32)}

  def update(
    self,
    rate: Any,
    rows_kD: Float[Array, "k D"],
    grad_kD: Float[Array, "k D"],
    moments: Moments,
  ) -> tuple[Float[Array, "k D"], Moments]:
    """One step of some rows; moments are those rows' own."""
    second_k = moments["second"] + jnp.mean(jnp.square(grad_kD), axis=1)
    scale_k = rate / (jnp.sqrt(second_k) + self.eps)
    return rows_kD - scale_k[:, None] * grad_kD, {"second": second_k}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowwiseAdamW(_Scheduled):
  """AdamW with a scalar second moment per row.

  Attributes:
    b1: decay of the first moment, an array as large as the table; 0 has none.
    b2: decay of the second moment.
    weight_decay: decoupled, on the rows that a step touches.
  """

  b1: float = 0.9
  b2: float = 0.999
  weight_decay: float = 0.0

  def init(self, rows_RD: Float[Array, "R D"]) -> Moments:
    """Second moment and clock (R,), and the first moment (R, D) if any."""
    count = rows_RD.shape[0]
    moments = {
      "second": jnp.zeros(count, jnp.float32),
      "steps": jnp.zeros(count, jnp.int32),
    }
    if self.b1:
      moments["first"] = jnp.zeros(rows_RD.shape, jnp.float32)
    return moments

  def update(
    self,
    rate: Any,
    rows_kD: Float[Array, "k D"],
    grad_kD: Float[Array, "k D"],
    moments: Moments,
  ) -> tuple[Float[Array, "k D"], Moments]:
    """One step of some rows; moments are those rows' own."""
    steps_k = moments["steps"] + 1
    square_k = jnp.mean(jnp.square(grad_kD), axis=1)
    second_k = self.b2 * moments["second"] + (1 - self.b2) * square_k
    clock_k = steps_k.astype(jnp.float32)
    root_k = jnp.sqrt(second_k / (1 - self.b2**clock_k)) + self.eps
    new = {"second": second_k, "steps": steps_k}
    direction_kD = grad_kD
    if self.b1:
      new["first"] = self.b1 * moments["first"] + (1 - self.b1) * grad_kD
      direction_kD = new["first"] / (1 - self.b1**clock_k)[:, None]
    change_kD = direction_kD / root_k[:, None] + self.weight_decay * rows_kD
    return rows_kD - rate * change_kD, new


@dataclasses.dataclass(frozen=True)
class DenseAndRowwise:
  """Two optimizers: one for tables looked up by row, one for all the rest.

  Tables are those that a system names in logical_axes as ("rows", ...); they
  are handled in train/tables.py. A clip of the dense optimizer counts dense
  gradients alone.

  Attributes:
    dense: an Optax transformation.
    tables: RowwiseAdagrad or RowwiseAdamW.
  """

  dense: Any
  tables: RowwiseAdagrad | RowwiseAdamW

  def __post_init__(self):
    if not isinstance(self.dense, optax.GradientTransformation):
      raise ValueError(
        f"config.optimizer.dense is a {type(self.dense).__name__}, and must be"
        " an Optax transformation such as train.adamw. To freeze parameters put"
        " train.Frozen around the whole: its optimizer is the"
        " train.DenseAndRowwise."
      )


Optimizer = optax.GradientTransformation | DenseAndRowwise
