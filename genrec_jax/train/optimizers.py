# SPDX-License-Identifier: Apache-2.0
"""Optimizers and schedules, each an Optax transformation.

    warm-up from 0, then constant, cosine or linear decay to `final_ratio`

AdamW with decoupled weight decay (Loshchilov and Hutter, ICLR 2019); gradients
are clipped by their global norm first. Decay spares tables of embeddings,
everything of one dimension (biases, norms, bias tables), and biases and scales
of more: those that each slot, task or expert has of its own lie in one array,
whose name ends as theirs do ("bias", "slot_in_bias", "final_scale").
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import optax

Schedule = Callable[[Any], Any]
# Last words of the names of what decay spares.
_SPARED = ("embedding", "bias", "scale")


@dataclasses.dataclass(frozen=True)
class Constant:
  """The peak rate after the warm-up."""

  def __call__(self, peak: float) -> Schedule:
    """step since the warm-up -> rate."""
    return optax.constant_schedule(peak)


@dataclasses.dataclass(frozen=True)
class Cosine:
  """Half a cosine from the peak to final_ratio * peak over `steps`."""

  steps: int
  final_ratio: float = 0.0

  def __call__(self, peak: float) -> Schedule:
    """step since the warm-up -> rate."""
    return optax.cosine_decay_schedule(peak, self.steps, self.final_ratio)


@dataclasses.dataclass(frozen=True)
class Linear:
  """A straight line from the peak to final_ratio * peak over `steps`."""

  steps: int
  final_ratio: float = 0.0

  def __call__(self, peak: float) -> Schedule:
    """step since the warm-up -> rate."""
    return optax.linear_schedule(peak, self.final_ratio * peak, self.steps)


def warm_schedule(
  peak: float,
  warmup_steps: int,
  schedule: Callable[[float], Schedule] | None,
) -> Schedule:
  """step -> rate: linear warm-up from 0, then the schedule (None: Constant)."""
  after = (Constant() if schedule is None else schedule)(peak)
  if not warmup_steps:
    return after
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])


def decays(params: Any) -> Any:
  """True for the arrays that weight decay acts on."""

  def decide(path, array) -> bool:
    kind = path[-1].key.rpartition("_")[2]
    return array.ndim > 1 and kind not in _SPARED

  return jax.tree_util.tree_map_with_path(decide, params)


def adamw(
  learning_rate: float,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float | None = None,
  warmup_steps: int = 0,
  schedule: Callable[[float], Schedule] | None = None,
) -> optax.GradientTransformation:
  """AdamW with warm-up, schedule and clipping.

  Args:
    learning_rate: the peak.
    b1: decay of the first moment.
    b2: decay of the second moment.
    eps: added to the root of the second moment.
    weight_decay: decoupled, on matrices only; see `decays`.
    clip_norm: largest global norm of a gradient; None does not clip.
    warmup_steps: linear from 0 to the peak.
    schedule: what follows (Constant, Cosine, Linear); None = Constant.
  """
  parts = [
    optax.adamw(
      warm_schedule(learning_rate, warmup_steps, schedule),
      b1=b1,
      b2=b2,
      eps=eps,
      weight_decay=weight_decay,
      mask=decays,
    )
  ]
  if clip_norm is not None:
    parts.insert(0, optax.clip_by_global_norm(clip_norm))
  return optax.chain(*parts)
