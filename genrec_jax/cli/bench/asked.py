# SPDX-License-Identifier: Apache-2.0
"""Flags that several parts of the bench have, and what all of them print.

_CONFIG = ConfigFlags(COMMAND)     --config, --batch_size, --row_length,
                                   --events
_VECTORS = VectorFlags(COMMAND)    --workdir, --num_items, --k, --recall,
                                   --batch_size, --steps
"""

from collections.abc import Mapping
import json
import pathlib
import sys
from typing import Any

from absl import flags
import jax

from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.core.build import build_options
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.experiment.sections import check_config

# Items of MovieLens-1M and of Amazon Beauty.
MOVIELENS, BEAUTY = 3706, 12_101
# Requests at a time, and items of their histories.
REQUESTS, HISTORY = 64, 20
_SCRIPTS = pathlib.Path(__file__).resolve().parents[3] / "scripts"


class ConfigFlags:
  """A config, and the shapes that flags give it."""

  def __init__(
    self,
    command: Command,
    *,
    events: int | None = None,
    batch_size: int | None = None,
  ):
    """Defines the flags.

    Args:
      command: whose they are.
      events: default; None = the layout's max_length.
      batch_size: requests at a time by default; None = rows of the config.
    """
    self._default_events, self._default_batch = events, batch_size
    self._config = command.config_file("What to time.")
    rows = "Rows; default: the config's."
    if batch_size is not None:
      rows = f"Requests at a time; default: {batch_size}."
    self._batch_size = command.integer("batch_size", None, rows, lower_bound=1)
    self._row_length = command.integer(
      "row_length",
      None,
      "Tokens of a row; default: the config's.",
      lower_bound=1,
    )
    length = "the layout's max_length" if events is None else events
    self._events = command.integer(
      "events", None, f"Events of a history; default: {length}.", lower_bound=1
    )

  @property
  def batch_size(self) -> int | None:
    """Requests at a time; None = as the config has it."""
    return self._batch_size.value or self._default_batch

  def read(self) -> tuple[dict[str, Any], PipelineOptions, int]:
    """The config with the shapes that flags ask for, its pipeline, and events
    of a history.

    Raises:
      UsageError: there is no config.
    """
    if self._config.argument is None:
      raise UsageError("--config says what to time.")
    config = check_config(self._config.value)
    for name, value in (
      ("batch_size", self._batch_size.value),
      ("row_length", self._row_length.value),
    ):
      if value:
        config["pipeline"][name] = value
    options = build_options(
      PipelineOptions, config["pipeline"], where="config.pipeline"
    )
    default = self._default_events or options.layout.max_length
    return config, options, self._events.value or default


class VectorFlags:
  """Vectors made of a trained run's, and how they are searched."""

  def __init__(self, command: Command):
    self._workdir = command.string(
      "workdir", None, "Folder of a trained run with item vectors."
    )
    self._num_items = num_items(command, 1_000_000)
    self._k = command.integer(
      "k", 100, "Places of a list; default: 100.", lower_bound=1
    )
    self._recall = command.float(
      "recall", 0.95, "That ScaNN is to reach; default: 0.95."
    )
    self._batch_size = command.integer(
      "batch_size",
      REQUESTS,
      f"Queries at a time; default: {REQUESTS}.",
      lower_bound=1,
    )
    self._steps = steps(command)

  def read(self) -> dict[str, Any]:
    """Arguments of what times a search; the command must require --workdir."""
    return {
      "workdir": self._workdir.value,
      "num_items": self._num_items.value,
      "k": self._k.value,
      "recall": self._recall.value,
      "batch_size": self._batch_size.value,
      "turns": self._steps.value,
    }


def num_items(command: Command, default: int = MOVIELENS) -> flags.FlagHolder:
  """Defines --num_items."""
  return command.integer(
    "num_items", default, f"Items V; default: {default:,}.", lower_bound=1
  )


def steps(command: Command) -> flags.FlagHolder:
  """Defines --steps."""
  return command.integer(
    "steps", 10, "Timed; the median counts; default: 10.", lower_bound=1
  )


def peer_script(name: str) -> str:
  """Path of the script that another library's interpreter runs.

  It lies beside the script that was started, or in scripts/ beside the package.

  Raises:
    ValueError: in neither, as where no checkout is.
  """
  for folder in (pathlib.Path(sys.argv[0]).resolve().parent, _SCRIPTS):
    if (folder / name).is_file():
      return str(folder / name)
  raise ValueError(
    f"--peer_python runs scripts/{name}, and there is no {_SCRIPTS / name}: it"
    " comes with a checkout, not with the installed package. Run"
    " scripts/bench.py of a checkout."
  )


def device() -> str:
  """How many of what."""
  return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def facts(config: Mapping[str, Any]) -> dict[str, Any]:
  """What was timed, and on what."""
  return {"config": config["name"], "device": device()}


def print_line(part: str, result: Mapping[str, Any]) -> None:
  """Prints what a part has found, as JSON."""
  print(json.dumps({"bench": part, "jax": jax.__version__, **result}))
