# SPDX-License-Identifier: Apache-2.0
"""THE loop: step, log, validate, keep the best, checkpoint, stop, resume.

Metrics of step n are read after step n + 1 is dispatched, so the device never
waits for the host. A checkpoint is the state, the data iterator's state and
the loop's own bookkeeping (Progress): a run that is killed and started again
does what the uninterrupted run would have done, bit by bit.

The loop ends at `steps`, after `patience` validations without improvement, on
SIGTERM or Ctrl-C (it saves first), or at a loss that is not finite (it does
not). Guards (train/guards.py) are asked before the first step, whose metrics
are kept to compare with, and after every validation; one that trips ends the
run for good. (Over 350 lines: what is done between steps has one order.)
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import math
import sys
import time
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from tqdm import tqdm

from genrec_jax.core import processes
from genrec_jax.core.build import build_options
from genrec_jax.core.rollout_seams import Guard
from genrec_jax.core.types import Mean
from genrec_jax.metrics.writer import Writer
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.guards import GuardTripped, first_tripped
from genrec_jax.train.parameter_source import ParameterSource
from genrec_jax.train.state import TrainState
from genrec_jax.train.step_meter import StepMeter
from genrec_jax.train.termination import Termination

# Losses of a training that learns fall; noise does not make three times of one.
_RISE = 3.0

# Arrays by name; with a rollout also what is asked for at the step.
HostBatch = dict[str, Any]


class DivergedError(FloatingPointError):
  """The loss or a gradient is not finite; the message says where."""


@runtime_checkable
class Batches(Iterator[HostBatch], Protocol):
  """An iterator whose place can be saved (data/pipeline/readers.py)."""

  def get_state(self) -> dict[str, Any]:
    """A JSON-able state by reader, of those that this process has."""

  def set_state(self, state: Any) -> None:
    """Goes to a saved place."""


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """config.train: how long to train and what to do on the way.

  Attributes:
    steps: of the whole run.
    log_every_steps: a row of metrics.jsonl and the progress bar.
    eval_every_steps: validate; 0 never does.
    checkpoint_every_steps: save besides after each validation; 0 does not.
    monitor: validation metric that decides which step is the best; of several
      joined by "+", such as "ndcg@10+auc", their mean does.
    patience: validations without improvement before stopping; 0 = no limit.
    eval_users: users validated on (drawn once); None = all.
    keep_checkpoints: newest ones kept, the best apart.
    warm_start: workdir of a run whose parameters to start from; '' = none.
    pretrained: part of the parameters -> where it is read from, after
      warm_start (experiment/pretrained.py); None = nothing.
  """

  steps: int
  log_every_steps: int = 50
  eval_every_steps: int = 0
  checkpoint_every_steps: int = 0
  monitor: str = "ndcg@10"
  patience: int = 0
  eval_users: int | None = None
  keep_checkpoints: int = 2
  warm_start: str = ""
  pretrained: Mapping[str, Any] | None = None

  @property
  def monitors(self) -> tuple[str, ...]:
    """The metrics that `monitor` names."""
    return tuple(self.monitor.split("+"))

  def monitored(self, scores: Mapping[str, float]) -> float:
    """What `monitor` makes of validation metrics."""
    watched = [scores[name] for name in self.monitors]
    return sum(watched) / len(watched)

  def __post_init__(self):
    sources = {
      part: node
      if isinstance(node, ParameterSource)
      else build_options(
        ParameterSource, node, where=f"config.train.pretrained[{part!r}]"
      )
      for part, node in (self.pretrained or {}).items()
    }
    object.__setattr__(self, "pretrained", sources)
    for name in ("steps", "log_every_steps", "keep_checkpoints"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"train.{name} must be at least 1, got {getattr(self, name)}."
        )

  def over(self, step: int, worse: int) -> str:
    """Why a run at this step is finished; '' if it is not.

    Raised steps or patience make a finished run go on.

    Args:
      step: that it has come to.
      worse: validations since the best.
    """
    if step >= self.steps:
      return f"all {self.steps} steps done"
    if self.patience and worse >= self.patience:
      return (
        f"early stop at step {step}: {self.monitor} has not improved for"
        f" {worse} validations"
      )
    return ""


@dataclasses.dataclass
class Progress:
  """The loop's own bookkeeping, saved with every checkpoint.

  Attributes:
    best: best validation value so far; None before the first.
    best_step: its step.
    worse: validations since then.
    seconds: spent in the loop, validation and saving included.
    examples: users read.
    finished: why the run needs no more training; '' while it does.
    fingerprint: of the data set trained on.
    artifacts: kind -> version of what else was read (experiment/artifacts.py).
    first_loss: of the first step; what later ones are compared with.
    sources: part of the parameters -> identity of what it was read from.
    before: validation metrics at the start, where there are guards.
    tripped: what a guard has ended the run for; '' = none has.
  """

  best: float | None = None
  best_step: int = 0
  worse: int = 0
  seconds: float = 0.0
  examples: int = 0
  finished: str = ""
  fingerprint: str = ""
  artifacts: dict[str, str] = dataclasses.field(default_factory=dict)
  first_loss: float | None = None
  sources: dict[str, str] = dataclasses.field(default_factory=dict)
  before: dict[str, float] = dataclasses.field(default_factory=dict)
  tripped: str = ""


@dataclasses.dataclass
class Loop:
  """One run's parts; `run` goes through the steps.

  Attributes:
    options: see LoopOptions.
    step_fn: jitted (state, batch on devices) -> (state, metrics).
    put: host batch -> batch on devices.
    batches: host batches of this process.
    checkpoints: where the newest states go.
    best: where the best state on validation goes.
    writer: where scalars go.
    validate: parameters -> metrics by name.
    user_ids: user indices -> ids, for error messages.
    config: saved with every checkpoint.
    progress: bookkeeping so far.
    termination: says when to save and stop.
    check: called before anything is saved; raises where nothing may be.
    guards: by name.
    meter: of what steps use of the device, logged as "mfu"; None where that is
      not known.
  """

  options: LoopOptions
  step_fn: Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]
  put: Callable[[HostBatch], Any]
  batches: Batches
  checkpoints: Checkpoints
  best: Checkpoints
  writer: Writer
  validate: Callable[[Any], Mapping[str, float]]
  user_ids: Callable[[np.ndarray], list[str]]
  config: Mapping[str, Any]
  progress: Progress
  termination: Termination
  check: Callable[[], None] = lambda: None
  guards: Mapping[str, Guard] = dataclasses.field(default_factory=dict)
  meter: StepMeter | None = None

  def run(self, state: TrainState) -> TrainState:
    """Trains from the state's step to the end; returns the last state.

    Raises:
      DivergedError: names the step and the batch's users.
      GuardTripped: names the guard; the state is saved, but for one of a
        training that has not begun.
      ValueError: samples that cannot be, such as rewards out of their range.
    """
    step = int(state.step)
    self._start_guards(step, state)
    self._started = time.perf_counter() - self.progress.seconds
    self._window: dict[str, Mean] = {}
    self._losses: list[float] = []
    self._warned = False
    self._logged = (self.progress.seconds, self.progress.examples)
    self._users = 0
    # Seconds of stepping since the last logged row, and steps within them.
    self._stepping, self._steps = 0.0, 0
    self.progress.finished = self.options.over(step, self.progress.worse)
    pending, since = None, time.perf_counter()
    bar = tqdm(
      total=self.options.steps, initial=step, unit="step", desc="train"
    )
    with bar, self.termination.deferred():
      while step < self.options.steps and not self.progress.finished:
        batch = next(self.batches)
        on_device = self.put(batch)
        with jax.transfer_guard("disallow"):
          state, metrics = self.step_fn(state, on_device)
        step += 1
        self._steps += 1
        if pending is not None:
          self._read(*pending)
        pending = (step, metrics, batch)
        stop = self._stop(step)
        if not (stop or self._pauses_at(step)):
          bar.update()
          continue
        self._read(*pending)
        pending = None
        self._stepping += time.perf_counter() - since
        self._pause(step, state, stop, bar)
        since = time.perf_counter()
        bar.update()
        if stop:
          why = self.termination.name
          tqdm.write(f"{why}: saved step {step}; run again to resume.")
          break
    return state

  def _start_guards(self, step: int, state: TrainState) -> None:
    """Keeps what guards compare with; raises where one has tripped."""
    progress = self.progress
    if self.guards and not step:
      scores = self.validate(state.params)
      progress.before = {name: float(x) for name, x in scores.items()}
      progress.tripped = self._tripped(scores)
    if progress.tripped:
      raise GuardTripped(f"step {step}: {progress.tripped}")

  def _tripped(self, scores: Mapping[str, float]) -> str:
    return first_tripped(self.guards, self.progress.before, scores)

  def _stop(self, step: int) -> bool:
    # Processes must agree on the step, or they would save different ones.
    if jax.process_count() == 1 or step % self.options.log_every_steps == 0:
      return processes.any_process(self.termination.arrived)
    return False

  def _evaluates_at(self, step: int) -> bool:
    every = self.options.eval_every_steps
    return every > 0 and (step % every == 0 or step == self.options.steps)

  def _pauses_at(self, step: int) -> bool:
    """Whether metrics of this very step are needed before the next."""
    every = self.options.checkpoint_every_steps
    return (
      step % self.options.log_every_steps == 0
      or step == self.options.steps
      or self._evaluates_at(step)
      or (every > 0 and step % every == 0)
    )

  def _read(self, step: int, metrics: dict[str, Any], batch: HostBatch):
    """Fetches a step's metrics and adds them to the log window."""
    metrics = jax.device_get(metrics)
    loss, norm = float(metrics["loss"]), float(metrics["grad_norm"])
    self._users += int(metrics["users"])
    if not (math.isfinite(loss) and math.isfinite(norm)):
      users = np.unique(batch["user_BL"][batch["segment_ids_BL"] > 0])
      ids = self.user_ids(users)
      shown = ", ".join(ids[:20]) + (", ..." if len(ids) > 20 else "")
      raise DivergedError(
        f"step {step}: loss {loss}, gradient norm {norm}. The batch held"
        f" {len(ids)} users of process {jax.process_index()}: {shown}. The"
        f" last checkpoint is of step {self.checkpoints.latest_step}; lower"
        " the learning rate, clip gradients, or look at these users' events."
      )
    for name, count in metrics.get("faults", {}).items():
      if int(count):
        raise ValueError(f"step {step}: {int(count)} {name}.")
    if step == 1:
      self.progress.first_loss = loss
    self._losses.append(loss)
    one = np.float32(1.0)
    means = {"grad_norm": Mean(np.float32(norm), one), **metrics["parts"]}
    for name, mean in means.items():
      before = self._window.get(name)
      self._window[name] = mean if before is None else before.merge(mean)

  def _warn_of_divergence(self, step: int) -> None:
    """Says once that the loss has risen far above where it began."""
    first, loss = self.progress.first_loss, float(np.mean(self._losses))
    self._losses = []
    if self._warned or first is None or not loss > _RISE * first > 0:
      return
    self._warned = True
    tqdm.write(
      f"warning: at step {step} the loss is {loss:.4g}, {first:.4g} at step 1:"
      " the training diverges. Try a lower optimizer.learning_rate.",
      file=sys.stderr,
    )

  def _pause(self, step, state, stop, bar) -> None:
    """Logs, validates and saves, as far as they are due."""
    options, progress = self.options, self.progress
    progress.seconds = time.perf_counter() - self._started
    progress.examples += self._users
    self._users = 0
    if step % options.log_every_steps == 0 or step == options.steps:
      scalars = {n: float(m.compute()) for n, m in self._window.items()}
      self._window = {}
      self._warn_of_divergence(step)
      if self.meter is not None:
        scalars["mfu"] = self.meter.mfu(self._steps, self._stepping)
      self._stepping, self._steps = 0.0, 0
      seconds, examples = self._logged
      self._logged = (progress.seconds, progress.examples)
      rate = (progress.examples - examples) / (progress.seconds - seconds)
      self.writer.write(
        step,
        {f"train/{n}": v for n, v in scalars.items()},
        seconds=round(progress.seconds, 3),
        examples=progress.examples,
      )
      shown = {n: f"{v:.4f}" for n, v in scalars.items() if n != "grad_norm"}
      bar.set_postfix({**shown, "examples/s": f"{rate:.0f}"}, refresh=False)
    if self._evaluates_at(step):
      self._evaluate(step, state, bar)
    progress.finished = options.over(step, progress.worse)
    every = options.checkpoint_every_steps
    due = stop or progress.finished or self._evaluates_at(step)
    if due or (every > 0 and step % every == 0):
      self._save(self.checkpoints, state)
    if progress.tripped:
      raise GuardTripped(f"step {step}: {progress.tripped}")

  def _evaluate(self, step: int, state: TrainState, bar) -> None:
    progress, options = self.progress, self.options
    scores = dict(self.validate(state.params))
    value = options.monitored(scores)
    progress.seconds = time.perf_counter() - self._started
    self.writer.write(
      step,
      {f"validation/{n}": v for n, v in scores.items()},
      seconds=round(progress.seconds, 3),
      examples=progress.examples,
    )
    progress.tripped = self._tripped(scores)
    improved = progress.best is None or value > progress.best
    # What a guard refuses is not the best, however much it is rewarded.
    improved &= not progress.tripped
    if improved:
      progress.best, progress.best_step, progress.worse = value, step, 0
      self._save(self.best, state)
    else:
      progress.worse += 1
    bar.write(
      f"step {step}: validation {options.monitor} {value:.4f}"
      + ("" if improved or progress.best is None else self._best())
    )

  def _best(self) -> str:
    return f" (best {self.progress.best:.4f})"

  def _save(self, where: Checkpoints, state: TrainState) -> None:
    self.progress.seconds = time.perf_counter() - self._started
    self.save(where, state)

  def save(self, where: Checkpoints, state: TrainState) -> None:
    """Writes a state with the place in the data and the bookkeeping of now."""
    self.check()
    where.save(
      state,
      data={"readers": processes.merge_json(self.batches.get_state())},
      progress=dataclasses.asdict(self.progress),
      config=self.config,
    )
