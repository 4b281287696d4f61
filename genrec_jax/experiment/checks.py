# SPDX-License-Identifier: Apache-2.0
"""What the parts of a run must agree on, before anything is computed."""

from collections.abc import Mapping
import pathlib

import optax

from genrec_jax.core import seams
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.experiment.artifacts import Artifacts
from genrec_jax.experiment.sections import read_config
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.frozen import Frozen
from genrec_jax.train.loop import LoopOptions
from genrec_jax.train.rowwise import DenseAndRowwise


def check_monitor(
  train: LoopOptions, evals: Mapping[str, seams.Evaluator]
) -> None:
  """Raises where training would watch what is not measured."""
  names = [name for evaluator in evals.values() for name in evaluator.names]
  for monitor in train.monitors if train.eval_every_steps else ():
    if monitor not in names:
      raise ValueError(
        f"config.train.monitor={train.monitor!r}: {monitor!r} is no validation"
        f" metric of config.evals.{choices_hint(monitor, names)}"
      )


def check_start(train: LoopOptions) -> None:
  """Raises where nothing is there that a new run would start from.

  What is there is compared with the run's parameters when these are known.
  """
  paths = {"warm_start": train.warm_start} if train.warm_start else {}
  for part, source in (train.pretrained or {}).items():
    place = f"pretrained[{part!r}]"
    if source.is_workdir:
      paths[place] = source.path
    elif not pathlib.Path(source.path).is_file():
      raise ValueError(f"config.train.{place}: {source.path} is missing.")
  for place, path in paths.items():
    workdir = pathlib.Path(path)
    if not (workdir / "config.json").is_file():
      raise ValueError(
        f"config.train.{place}={path!r} holds no run: give the workdir of a"
        " training."
      )
    read_config(workdir / "config.json")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
      if checkpoints.latest_step is None:
        raise ValueError(
          f"config.train.{place}={path!r} holds no checkpoint: train it first."
        )


def check_optimizer(optimizer: object) -> None:
  """Raises where what is no optimizer would update the parameters."""
  kinds = (optax.GradientTransformation, DenseAndRowwise, Frozen)
  if not isinstance(optimizer, kinds):
    raise ValueError(
      f"config.optimizer ({type(optimizer).__name__}) is no optimizer: take one"
      " of `train`, such as train.adamw."
    )


def check_levels(system: seams.Model, artifacts: Artifacts) -> None:
  """Raises where a system has other levels than the codes it would read."""
  if "tokens" not in artifacts.versions:
    return
  seams.require(system, seams.CodesModel, "config.system")
  there = artifacts.item_tokens.level_sizes
  if tuple(there) != tuple(system.level_sizes):
    raise ValueError(
      f"config.system.level_sizes={tuple(system.level_sizes)}, and the item"
      f" tokens in {artifacts.directories['tokens']} have levels of"
      f" {tuple(there)}"
      " codes: they must be the same."
    )


def check_tasks(objective: seams.Objective, layout: seams.Layout) -> None:
  """Raises where a loss means other tasks than the labels it is given.

  Labels are bits in the order of the layout's tasks, and have no names.
  """
  if seams.offers(objective, seams.CombinedObjective):
    for part in objective.objectives.values():
      check_tasks(part, layout)
  if not seams.offers(objective, seams.TaskObjective):
    return
  if not seams.offers(layout, seams.ImpressionLayout):
    raise ValueError(
      f"config.objective has tasks {tuple(objective.tasks)}, and"
      f" config.pipeline.layout ({type(layout).__name__}) has no labels of any:"
      " take a layout with feedback, or an objective without tasks."
    )
  tasks, labels = tuple(objective.tasks), tuple(layout.feedback.tasks)
  if tasks != labels:
    raise ValueError(
      f"config.objective has tasks {tasks}, and the labels of"
      f" config.pipeline.layout.feedback are {labels}: they must be the same,"
      " in the same order."
    )


def check_times(system: seams.Model, histories: Histories) -> None:
  """Raises where a system reads event times that the data lack."""
  if system.uses_time and "time" not in histories.manifest.fields:
    raise ValueError(
      f"the system uses event times, and the data set in {histories.directory}"
      " has none. Map a timestamp column, or switch off what reads them: the"
      " time bias (--config.system.backbone.time_bias=False), rotary time, the"
      " calendar."
    )


def check_length(system: seams.Model, layout: seams.Layout) -> None:
  """Raises where examples are longer than a system's positions."""
  if layout.max_length > system.max_length:
    raise ValueError(
      f"config.pipeline.layout.max_length={layout.max_length} is more than the"
      f" {system.max_length} positions of config.system: set num_positions"
      " there, and in its backbone, to at least as many."
    )
