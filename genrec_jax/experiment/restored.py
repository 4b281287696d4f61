# SPDX-License-Identifier: Apache-2.0
"""The parameters of a trained run, and which ones they are.

    best      WORKDIR/best         best on validation
    latest    WORKDIR/checkpoints  where training stands

A run that has not validated (train.eval_every_steps=0, or it is young) has no
best: then the latest is taken, and stderr says so. Everything that measures or
serves a run gets its parameters here.
"""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.experiment.experiment import Run
from genrec_jax.train.checkpoints import Checkpoints, DamagedCheckpoint

CHECKPOINTS = {"best": "best", "latest": "checkpoints"}


@dataclasses.dataclass(frozen=True)
class Loaded:
  """Parameters read back.

  Attributes:
    params: on this process's devices, replicated.
    checkpoint: "best" or "latest", the one that was read.
    step: the training step that it holds.
    progress: the loop's bookkeeping in the LATEST checkpoint (seconds,
      finished), whichever was read.
  """

  params: Any
  checkpoint: str
  step: int
  progress: Mapping[str, Any]


def load_params(run: Run, checkpoint: str = "best") -> Loaded:
  """Reads the parameters of a run's "best" or "latest" checkpoint.

  Raises:
    ValueError: no checkpoint at all, one of another architecture or whose
      values are not finite, or item vectors or tokens of another version than
      it was trained with.
  """
  if checkpoint not in CHECKPOINTS:
    raise ValueError(
      f"checkpoint={checkpoint!r} is unknown; choices: {', '.join(CHECKPOINTS)}"
    )
  folders = {
    name: pathlib.Path(run.workdir) / folder
    for name, folder in CHECKPOINTS.items()
  }
  steps = {name: _latest_step(folder) for name, folder in folders.items()}
  if checkpoint == "best" and steps["best"] is None:
    if steps["latest"] is not None:
      print(
        f"{folders['best']} holds no checkpoint (the run has not validated):"
        f" taking the latest, of step {steps['latest']}",
        file=sys.stderr,
      )
    checkpoint = "latest"
  if steps[checkpoint] is None:
    raise ValueError(
      f"there is no checkpoint in {folders[checkpoint]}. Train first: python"
      f" genrec train --config=... --workdir={run.workdir}"
    )
  progress = read_progress(run)
  run.artifacts.check(progress.get("artifacts", {}))
  everywhere = sharding.local().replicated
  like = run.abstract_params()
  try:
    step, params = _of_newest(
      folders[checkpoint],
      lambda found, step: found.restore_params(like, everywhere, step),
    )
  except DamagedCheckpoint as error:
    fix = (
      "Start its genrec train again: it goes on from the newest whole one."
      if checkpoint == "latest"
      else "Take --checkpoint=latest, or train again."
    )
    raise DamagedCheckpoint(f"{str(error).rstrip('.')}. {fix}") from error
  damaged = _not_finite(params)
  if damaged:
    raise ValueError(
      f"the checkpoint in {folders[checkpoint]} (step {step}) holds values that"
      f" are not finite: {', '.join(damaged[:3])}"
      + (f" and {len(damaged) - 3} more" if len(damaged) > 3 else "")
      + ". It is damaged, or training went wrong: take --checkpoint="
      + ("latest" if checkpoint == "best" else "best")
      + ", or train again."
    )
  return Loaded(params, checkpoint, step, progress)


def read_progress(run: Run) -> Mapping[str, Any]:
  """The bookkeeping of the newest of a run's checkpoints.

  Raises:
    ValueError: the run has none.
  """
  folder = pathlib.Path(run.workdir) / CHECKPOINTS["latest"]
  return _of_newest(folder, lambda found, step: found.progress(step))[1]


def _of_newest(
  folder: pathlib.Path, read: Callable[[Checkpoints, int | None], Any]
) -> tuple[int | None, Any]:
  """The step of a folder's newest checkpoint, and what is read of it.

  A training may delete it meanwhile: then there is a newer one, which is read.
  """
  with Checkpoints(folder, read_only=True) as checkpoints:
    while True:
      step = checkpoints.latest_step
      try:
        return step, read(checkpoints, step)
      except DamagedCheckpoint:
        if checkpoints.latest_step == step:
          raise


def _not_finite(params: Any) -> list[str]:
  """Paths of the parameters that hold a NaN or an infinity."""
  # On the host: a program for it would take longer to compile than to run.
  finite = jax.tree.map(lambda x: np.isfinite(x).all(), jax.device_get(params))
  return [
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, fine in jax.tree_util.tree_leaves_with_path(finite)
    if not fine
  ]


def _latest_step(folder: pathlib.Path) -> int | None:
  with Checkpoints(folder, read_only=True) as checkpoints:
    return checkpoints.latest_step
