# SPDX-License-Identifier: Apache-2.0
"""Trains the run of a workdir from where it stands, as genrec train does.

with alone(workdir) as check:
  train(Run.start(config, workdir), Termination(), check)
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import os
import sys
from typing import Any

import jax
import numpy as np

from genrec_jax.core import processes, seams, sharding
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.pipeline.readers import Readers
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.metered import metered_step
from genrec_jax.experiment.pretrained import (
  identities,
  load_parts,
  open_old,
  warn_of_others,
)
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.refusal import nothing_left
from genrec_jax.experiment.restored import check_data, load_params
from genrec_jax.experiment.sampled_steps import SampledSteps
from genrec_jax.metrics.writer import Writer
from genrec_jax.train.checkpoints import (
  Checkpoints,
  DamagedCheckpoint,
  Restored,
)
from genrec_jax.train.loop import Loop, Progress
from genrec_jax.train.state import TrainState, num_parameters
from genrec_jax.train.termination import Termination
from genrec_jax.train.warm_start import carry_over
from genrec_jax.train.workdir_lock import WorkdirLock


@contextlib.contextmanager
def alone(workdir: str | os.PathLike) -> Iterator[Callable[[], None]]:
  """Keeps other trainings out; yields what raises where one got in.

  Where it is refused, before training begins, nothing of it is left.
  """
  if jax.process_index():
    # The first process holds it for all.
    yield lambda: None
    return
  with WorkdirLock(workdir) as lock, nothing_left(workdir):
    yield lock.check


def _initial_params(run: Run):
  """Parameters of train.warm_start carried over by item, or the data's."""
  if not run.train.warm_start:
    return run.initial_params()
  old = open_old(run, run.train.warm_start)
  fresh, constants = run.init_params(), ()
  if seams.offers(run.system, seams.ConstantModel):
    fresh, constants = run.initial_params(), run.system.constants
  params, facts = carry_over(
    load_params(old).params,
    fresh,
    Catalog(old.histories.directory).ids,
    run.catalog.ids,
    run.system.item_tables,
    constants,
  )
  print(
    f"warm start from {run.train.warm_start}: {facts.kept} items kept,"
    f" {facts.new} new, {facts.gone} left behind"
  )
  return params


def _start(
  run: Run,
  program: Program,
  checkpoints: Checkpoints,
  best: Checkpoints,
  batches: Readers,
):
  """The state and bookkeeping to go on from: restored, or fresh."""
  if checkpoints.latest_step is None:
    params = load_parts(run, _initial_params(run))
    # Parameters may have been made of an artifact: then it is open.
    progress = Progress(
      fingerprint=run.histories.manifest.fingerprint,
      artifacts=_versions(run),
      sources=identities(run),
    )
    return program.init_state(params), progress
  restored = _newest_intact(program, checkpoints)
  if jax.process_index() == 0:
    checkpoints.seal()
    best.seal()
  progress = Progress(**restored.progress)
  check_data(run, progress.fingerprint, checkpoints.directory)
  run.artifacts.check(progress.artifacts)
  if run.rollout is not None:
    now = run.bound_rollout.versions
    check_same_versions(now, progress.artifacts, str(run.workdir))
  warn_of_others(run, progress.sources)
  if "readers" not in restored.data:
    raise ValueError(
      f"the checkpoint in {checkpoints.directory} is of an older version, which"
      " kept the place in the data by process. Use another --workdir."
    )
  batches.set_state(restored.data["readers"])
  print(f"resuming at step {int(restored.state.step)} of {run.train.steps}")
  return restored.state, progress


def _mend_best(
  run: Run,
  program: Program,
  best: Checkpoints,
  state: TrainState,
  progress: Progress,
  save: Callable[[], None],
) -> None:
  """Makes the state that training goes on from the best, where that is lost.

  Patience counts on: a run that has ended stays so.

  Args:
    run: what is trained.
    program: its program.
    best: where the best is.
    state: to be measured where it is not.
    progress: says which was the best, and then is.
    save: writes state and progress there.
  """
  step, here = best.latest_step, int(state.step)
  if not progress.best_step:
    return
  if step is None:
    was = progress.best_step
    said = f"{best.directory} holds no checkpoint; step {was} was the best."
  else:
    share = jax.process_index(), jax.process_count()
    _, said = _everywhere(best.check, step, *share)
  if not said:
    if step == here != progress.best_step:
      # It was mended then; the checkpoint beside it is of before that.
      kept = best.progress(step)
      progress.best, progress.best_step = kept["best"], kept["best_step"]
    return
  print(said, file=sys.stderr)
  if not run.train.eval_every_steps:
    print(
      "It stays so: with train.eval_every_steps=0 nothing is measured.",
      file=sys.stderr,
    )
    return
  if step is not None and jax.process_index() == 0:
    print(f"It is now {best.set_aside(step)}.", file=sys.stderr)
  processes.any_process(False)  # Nobody saves before it is set aside.
  progress.best = run.train.monitored(run.validate(state.params, program))
  progress.best_step = here
  save()
  print(
    f"step {here} is measured instead, and kept as the best: validation"
    f" {run.train.monitor} {progress.best:.4f}",
    file=sys.stderr,
  )


def _newest_intact(program: Program, checkpoints: Checkpoints) -> Restored:
  """The newest checkpoint that is what was written; others are set aside.

  Raises:
    ValueError: all are damaged.
  """
  like, shardings = program.abstract_state(), program.state_shardings
  damaged = []
  for step in checkpoints.steps:
    # All compare before any reads: reading is a matter of all processes.
    share = jax.process_index(), jax.process_count()
    _, said = _everywhere(checkpoints.check, step, *share)
    if not said:
      restored, said = _everywhere(
        checkpoints.restore, like, shardings, step, checked=True
      )
    if not said:
      break
    print(said, file=sys.stderr)
    damaged.append(step)
  else:
    raise ValueError(
      f"no checkpoint in {checkpoints.directory} is intact. Delete that folder"
      " to train from the start, or use another --workdir."
    )
  for step in damaged if jax.process_index() == 0 else ():
    print(
      f"going on from step {int(restored.state.step)}; the checkpoint of step"
      f" {step} is now {checkpoints.set_aside(step)}.",
      file=sys.stderr,
    )
  if damaged:
    processes.any_process(False)  # Nobody looks before all are set aside.
  return restored


def _everywhere(read: Callable, *arguments, **options) -> tuple[Any, str]:
  """What it returns, and what is damaged, here or elsewhere; '' = nothing."""
  found, said = None, ""
  try:
    found = read(*arguments, **options)
  except DamagedCheckpoint as error:
    said = str(error)
  if processes.any_process(bool(said)):
    return None, said or "another process found the checkpoint damaged."
  return found, ""


def _open_readers(run: Run, rows: np.ndarray) -> Readers:
  """The data, from its start: these rows of every global batch."""
  options = run.pipeline
  return Readers(
    lambda number: training_batches(
      run.source,
      options.layout,
      batch_size=options.batch_size,
      row_length=options.row_length,
      seed=run.seed,
      reader=number,
      readers=options.readers,
    ),
    count=options.readers,
    batch_size=options.batch_size,
    rows=rows,
  )


def _put(by_rows, rows: np.ndarray, size: int, batch: Any) -> Any:
  return sharding.put(batch, by_rows, rows, size)


def _versions(run: Run) -> dict[str, str]:
  """Of all that was read; of rewards also when nothing was opened."""
  more = {} if run.rollout is None else run.bound_rollout.versions
  return run.artifacts.versions | dict(more)


def check_same_versions(
  now: Mapping[str, str], trained: Mapping[str, str], where: str
) -> None:
  """Raises a ValueError where a run would go on with another reward.

  Args:
    now: versions of what config.rollout reads.
    trained: versions of what the run was trained with.
    where: the run is.
  """
  for name, version in now.items():
    if trained.get(name, version) != version:
      raise ValueError(
        f"the run in {where} was trained with the {name} of version"
        f" {trained[name]}, and config.rollout gives {version}: bring that"
        " back, or train again in another --workdir."
      )


def train(
  run: Run, termination: Termination, check: Callable[[], None]
) -> None:
  """Trains or resumes a run to its end.

  Args:
    run: what is trained.
    termination: says when to save and stop.
    check: raises where nothing may be saved any more.
  """
  program, samples = run.program(run.mesh.place()), None
  placement, size = program.placement, run.pipeline.batch_size
  placement.check_batch_size(size, "config.pipeline.batch_size")
  run.check_evals()
  run.histories.verify()
  rows = sharding.rows_of_process(placement.by_rows, size)
  batches = _open_readers(run, rows)
  if run.rollout is not None:
    program = dataclasses.replace(program, rollout=run.bound_rollout)
    samples = SampledSteps(program, batches)
  checkpoints = Checkpoints(
    run.workdir / "checkpoints", run.train.keep_checkpoints
  )
  best = Checkpoints(run.workdir / "best", keep=1)
  with (
    checkpoints,
    best,
    contextlib.closing(batches),
    program.in_force(),
  ):
    state, progress = _start(run, program, checkpoints, best, batches)
    writer = Writer(run.workdir, int(state.step), jax.process_index() == 0)
    manifest = run.histories.manifest
    names = run.pipeline.layout.names(run.users, run.catalog)
    print(
      f"{run.name}: {num_parameters(state.params):,} parameters,"
      f" {manifest.num_users:,} users, {manifest.num_items:,} items,"
      f" {placement.mesh.size} device(s)"
    )
    with contextlib.closing(writer):
      put = functools.partial(_put, placement.by_rows, rows, size)
      if samples is not None:
        samples.start(int(state.step))
        put, step_fn, meter = samples.putting(put), samples.step_fn, None
      else:
        dtype = run.config["system"].get("dtype", "float32")
        step_fn, meter = metered_step(program, dtype)
      loop = Loop(
        options=run.train,
        step_fn=step_fn,
        put=put,
        batches=batches if samples is None else samples,
        checkpoints=checkpoints,
        best=best,
        writer=writer,
        validate=lambda params: run.validate(params, program),
        user_ids=lambda users: [names[u] for u in users],
        config=run.config,
        progress=progress,
        termination=termination,
        check=check,
        guards=run.guards,
        meter=meter,
      )
      _mend_best(
        run, program, best, state, progress, lambda: loop.save(best, state)
      )
      loop.run(state)
  if progress.finished:
    print(f"finished: {progress.finished}; best step {progress.best_step}")
