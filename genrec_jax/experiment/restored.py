# SPDX-License-Identifier: Apache-2.0
"""The parameters of a trained run, and which ones they are.

    best      WORKDIR/best         best on validation
    latest    WORKDIR/checkpoints  where training stands

A run that has not validated (train.eval_every_steps=0, or it is young) has no
best: then the latest is taken, and stderr says so. Everything that measures or
serves a run gets its parameters here, and only on the data that it was trained
on.
"""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.data.dataset.histories import HistorySource
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
      finished), whichever was read; the best's own where that is damaged.
  """

  params: Any
  checkpoint: str
  step: int
  progress: Mapping[str, Any]


def load_params(run: Run, checkpoint: str = "best") -> Loaded:
  """Reads the parameters of a run's "best" or "latest" checkpoint.

  Raises:
    ValueError: no checkpoint at all, one of another architecture or whose
      values are not finite, or data, item vectors or tokens of another version
      than it was trained with.
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
      lost = _newest_progress(folders["latest"])["best_step"]
      why = (
        f"that of step {lost} is gone; genrec train, started again, measures"
        " the latest and keeps it"
        if lost
        else "the run has not validated"
      )
      print(
        f"{folders['best']} holds no checkpoint ({why}): taking the latest, of"
        f" step {steps['latest']}",
        file=sys.stderr,
      )
    checkpoint = "latest"
  if steps[checkpoint] is None:
    raise ValueError(
      f"there is no checkpoint in {folders[checkpoint]}. Train first:"
      f" genrec train --config=... --workdir={run.workdir}"
    )
  everywhere = sharding.local().replicated
  like = run.abstract_params()
  try:
    if checkpoint == "best":
      progress = read_progress(run)
    else:
      progress = _newest_progress(folders["latest"])
    check_data(run, progress["fingerprint"], folders[checkpoint])
    run.artifacts.check(progress.get("artifacts", {}))
    step, params = _of_newest(
      folders[checkpoint],
      lambda found, step: found.restore_params(like, everywhere, step),
    )
  except DamagedCheckpoint as error:
    fix = (
      "Start its genrec train again: it goes on from the newest whole one."
      if checkpoint == "latest"
      else "Take --checkpoint=latest, or start its genrec train again: it"
      " measures the latest and keeps it as the best."
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

  Where that is lost, the best one's own serves, and stderr says so.

  Raises:
    ValueError: the run has none.
  """
  latest, best = (
    pathlib.Path(run.workdir) / CHECKPOINTS[name] for name in ("latest", "best")
  )
  try:
    return _newest_progress(latest)
  except ValueError as error:  # DamagedCheckpoint is one.
    if _latest_step(best) is None:
      raise
    print(
      f"{str(error).splitlines()[0]} What the best checkpoint says of the run"
      " is taken.",
      file=sys.stderr,
    )
    return _newest_progress(best)


def check_finished(run: Run) -> None:
  """Raises a ValueError unless a run's training has come to its end.

  By the options of now: lowered steps may have been done before.
  """
  progress = read_progress(run)
  step = _latest_step(pathlib.Path(run.workdir) / CHECKPOINTS["latest"])
  over = step is not None and run.train.over(step, progress["worse"])
  if not (over or progress["finished"]):
    raise ValueError(
      f"the run in {run.workdir} is not finished. Resume it: genrec train"
      f" --config=... --workdir={run.workdir}"
    )


def check_data(run: Run, fingerprint: str, folder: pathlib.Path) -> None:
  """Raises a ValueError where a checkpoint is of other data than the run's.

  Args:
    run: with the data that is there.
    fingerprint: of the data that the checkpoint was trained on.
    folder: where the checkpoint lies.
  """
  manifest = run.histories.manifest
  if fingerprint != manifest.fingerprint:
    raise ValueError(
      f"the checkpoint in {folder} was trained on another data set than the one"
      f" in {run.histories.directory} (fingerprints {fingerprint} and"
      f" {manifest.fingerprint}). Use another --workdir, or bring the old data"
      " back."
    )


def check_same_items(other: Run, histories: HistorySource, which: str) -> None:
  """Raises a ValueError where another run is of other data.

  Args:
    other: what is asked about the items of these histories.
    histories: of the run that asks.
    which: what the other is, for the error.
  """
  theirs = other.histories.manifest.fingerprint
  ours = histories.manifest.fingerprint
  if theirs != ours:
    raise ValueError(
      f"{which} in {other.workdir} is of another data set (fingerprints"
      f" {theirs} and {ours}): the same numbers are other items there. Train"
      " both on one source, filter and split (--config.prepared)."
    )


def _newest_progress(folder: pathlib.Path) -> Mapping[str, Any]:
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
