# SPDX-License-Identifier: Apache-2.0
"""Limits of validation metrics beyond which a training ends, by name.

    config.guards = {
      "reward_auc": {"name": "train.AtLeast", "metric": "reward_auc",
                     "least": 0.6},
      "nll": {"name": "train.RiseAtMost", "metric": "held_out_nll",
              "share": 0.02}}

They are asked at the start of a training, whose metrics the later ones are
compared with, and after every validation (train/loop.py). A training whose
guard has tripped stays ended; its best checkpoint is that of before.
"""

from collections.abc import Mapping
import dataclasses
from typing import ClassVar

from genrec_jax.core.option_checks import check_scales
from genrec_jax.core.rollout_seams import Guard
from genrec_jax.core.suggest import choices_hint


class GuardTripped(ValueError):
  """A guard has ended the training; the message names it."""


@dataclasses.dataclass(frozen=True)
class AtLeast:
  """A metric is never below a limit, the first time included.

  Attributes:
    metric: of validation.
    least: the limit.
  """

  metric: str
  least: float

  def tripped(
    self, before: Mapping[str, float], now: Mapping[str, float]
  ) -> str:
    """See core/rollout_seams.py: Guard."""
    del before
    value = _of(now, self.metric)
    if value >= self.least:
      return ""
    return f"{self.metric} is {value:.4g}, below {self.least:g}"


@dataclasses.dataclass(frozen=True)
class _MovesAtMost:
  """A metric moves by a share of what it was at the start, or so much.

  Attributes:
    metric: of validation.
    share: such as .02 for 2 %.
    by: added to that, in units of the metric.
  """

  metric: str
  share: float = 0.0
  by: float = 0.0

  way: ClassVar[str]
  sign: ClassVar[int]

  def __post_init__(self):
    check_scales(self, "config.guards", "share", "by")

  def tripped(
    self, before: Mapping[str, float], now: Mapping[str, float]
  ) -> str:
    """See core/rollout_seams.py: Guard."""
    was, is_now = _of(before, self.metric), _of(now, self.metric)
    allowed = self.share * abs(was) + self.by
    # Not `>`: what is no number has gone as far as it could.
    if self.sign * (is_now - was) <= allowed:
      return ""
    return (
      f"{self.metric} is {self.way} from {was:.4g} to {is_now:.4g}, by more"
      f" than {allowed:.4g}"
    )


@dataclasses.dataclass(frozen=True)
class RiseAtMost(_MovesAtMost):
  """A metric rises by no more; one that falls may."""

  way = "up"
  sign = 1


@dataclasses.dataclass(frozen=True)
class FallAtMost(_MovesAtMost):
  """A metric falls by no more; one that rises may."""

  way = "down"
  sign = -1


def first_tripped(
  guards: Mapping[str, Guard],
  before: Mapping[str, float],
  now: Mapping[str, float],
) -> str:
  """What the first guard that trips says; '' where none does."""
  for name, guard in guards.items():
    why = guard.tripped(before, now)
    if why:
      return f"the guard {name!r} ends this training: {why}."
  return ""


def _of(metrics: Mapping[str, float], name: str) -> float:
  """A metric; ValueError where nothing measures it."""
  if name not in metrics:
    raise ValueError(
      f"config.guards watches {name!r}, which validation does not"
      f" measure.{choices_hint(name, metrics)}"
    )
  return metrics[name]
