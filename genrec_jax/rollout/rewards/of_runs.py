# SPDX-License-Identifier: Apache-2.0
"""Rewards that a trained run gives: of a reward model, or by item vectors.

    config.rollout.reward = {"name": "rewards.TrainedReward", "workdir": "",
                             "before": "reward", "checkpoint": "best"}

A run is named by its workdir, or as one of config.before by its name there. It
must be finished, and of the same data set: the same numbers are other items
elsewhere. With `least` it must also have been as good on its own validation
part: what a model learns of a reward that tells nothing is to find nothing. Its
layout lays the requests out for it, and its parameters are constants of the
step. Their version is kept with every checkpoint.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import identity_of
from genrec_jax.experiment.restored import (
  CHECKPOINTS,
  check_finished,
  check_same_items,
  load_params,
  read_progress,
)


@dataclasses.dataclass(frozen=True)
class _OfRun:
  """What both share.

  Attributes:
    workdir: of the run; "" = the one of config.before.
    before: its name in config.before.
    checkpoint: "best" or "latest".
    least: what the run's best validation was at least, such as a list_auc of
      .6; None = nothing is asked.
    run: set by `bind`.
    constants: likewise, the parameters.
    versions: likewise.
  """

  workdir: str = ""
  before: str = ""
  checkpoint: str = "best"
  least: float | None = None
  run: Any = dataclasses.field(default=None, repr=False, compare=False)
  constants: Any = dataclasses.field(default=None, repr=False, compare=False)
  versions: Mapping[str, str] = dataclasses.field(
    default_factory=dict, repr=False, compare=False
  )

  def __post_init__(self):
    if bool(self.workdir) == bool(self.before):
      raise ValueError(
        f"config.rollout.reward has workdir={self.workdir!r} and"
        f" before={self.before!r}: name a run by one of them."
      )

  def bind(self, run: Any) -> Any:
    """The same reward with the parameters of its run.

    Raises:
      ValueError: no run, one that is not finished, of other data, of a model
        that gives no such reward, or not as good as it must be.
    """
    theirs = Run.open(self.workdir or pathlib.Path(run.workdir) / self.before)
    what = "the run of config.rollout.reward"
    check_same_items(theirs, run.histories, what)
    where = f"config.system of the run in {theirs.workdir}"
    seams.require(theirs.system, self._needs, where)
    layout = theirs.pipeline.layout
    seams.require(layout, seams.RetrievalLayout, "its config.pipeline.layout")
    check_finished(theirs)
    self.check_quality(theirs.train.monitor, read_progress(theirs)["best"])
    loaded = load_params(theirs, self.checkpoint)
    folder = theirs.workdir / CHECKPOINTS[loaded.checkpoint]
    version = identity_of(folder)
    return dataclasses.replace(
      self, run=theirs, constants=loaded.params, versions={"reward": version}
    )

  def check_quality(self, monitor: str, best: float | None) -> None:
    """Raises a ValueError where the run's best validation was not enough.

    Args:
      monitor: what it watched.
      best: its best value; None where nothing was validated.
    """
    if self.least is None or (best is not None and best >= self.least):
      return
    found = "never validated" if best is None else f"{monitor} {best:.4f}"
    raise ValueError(
      f"the run of config.rollout.reward is {found} at best, and"
      f" config.rollout.reward.least={self.least} asks for more: a reward that"
      " tells nothing teaches nothing. Train it better, or set least=None."
    )

  def request_batch(self, requests: Any) -> dict[str, np.ndarray]:
    """As the run's own layout has it."""
    return self.run.pipeline.layout.request_batch(requests)

  def _ask(self, constants: Any, *arguments: Any, method: str) -> Any:
    if self.run is None:
      raise ValueError(
        f"rewards.{type(self).__name__} reads a trained run, which has to be"
        " there: nothing can be computed of its config alone."
      )
    params = {"params": constants}
    return self.run.system.apply(params, *arguments, method=method)


@dataclasses.dataclass(frozen=True)
class TrainedReward(_OfRun):
  """What a trained reward model says, between 0 and 1."""

  low = 0.0
  high = 1.0
  _needs = seams.ListRewardModel

  def __call__(
    self,
    constants: Any,
    item_GKN: Int[Array, "G K N"],
    target_G: Int[Array, "G"],
    batch: Mapping[str, Any],
  ) -> Float[Array, "G K"]:
    """See core/rollout_seams.py: Reward."""
    del target_G
    return self._ask(constants, batch, item_GKN, method="reward")


@dataclasses.dataclass(frozen=True)
class VectorScore(_OfRun):
  """Mean over a sample's items of <query, item vector>, in any range."""

  low = -float("inf")
  high = float("inf")
  _needs = seams.QueryModel

  def __call__(
    self,
    constants: Any,
    item_GKN: Int[Array, "G K N"],
    target_G: Int[Array, "G"],
    batch: Mapping[str, Any],
  ) -> Float[Array, "G K"]:
    """See core/rollout_seams.py: Reward."""
    del target_G
    query_GD = self._ask(constants, batch, method="query")
    items_GKND = self._ask(constants, item_GKN, method="items")
    score_GKN = jnp.einsum(
      "gd,gknd->gkn",
      query_GD.astype(jnp.float32),
      items_GKND.astype(jnp.float32),
    )
    there_GKN = item_GKN > 0
    total_GK = jnp.sum(jnp.where(there_GKN, score_GKN, 0.0), axis=2)
    return total_GK / jnp.maximum(jnp.sum(there_GKN, axis=2), 1)
