# SPDX-License-Identifier: Apache-2.0
"""A workdir whose parameters were drawn and never trained, on a random log.

    untrained_run(config, "runs/bench", num_users=1000, num_items=3706,
                  events=200)

What a model costs to serve does not depend on what it has learnt. Users have
equally many events, items are drawn evenly; of a config that reads actions,
each of its tasks happens, one an event. `genrec serve --checkpoint=latest`
reads the folder as that of any run.
"""

from collections.abc import Mapping
import copy
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data.action_text import SKIP
from genrec_jax.experiment.experiment import Run
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import Progress

_BEGIN, _YEAR = 1_600_000_000, 365 * 24 * 3600
_TENTH = 0.1


def untrained_run(
  config: Mapping[str, Any],
  workdir: str | os.PathLike,
  *,
  num_users: int,
  num_items: int,
  events: int,
  seed: int = 0,
) -> Run:
  """Writes the run, or finds it written.

  Args:
    config: plain and checked; its data, filter and split are replaced.
    workdir: of the run.
    num_users: U, named "u0" and so on.
    num_items: V, "i0" and so on.
    events: of each user.
    seed: of the log.

  Raises:
    ValueError: a config that cannot be built on such a log, or a folder with
      another log.
  """
  workdir = pathlib.Path(workdir).absolute()
  tasks = _tasks(config["pipeline"]["layout"])
  path = workdir / "log.parquet"
  log = random_log(num_users, num_items, events, tasks, seed)
  if not path.is_file():
    workdir.mkdir(parents=True, exist_ok=True)
    log.write_parquet(path)
  elif not pl.read_parquet(path).equals(log):
    raise ValueError(
      f"{path} is not the log of {num_users:,} users of {events} events each,"
      f" {num_items:,} items and the actions {tasks or 'of none'}: name another"
      " workdir, or the sizes that it was made with."
    )
  run = Run.start(_on_log(config, path, bool(tasks)), workdir)
  folder = workdir / "checkpoints"
  if not folder.is_dir():
    program = run.program()
    with program.in_force(), Checkpoints(folder) as checkpoints:
      progress = Progress(
        fingerprint=run.histories.manifest.fingerprint,
        artifacts=run.artifacts.versions,
      )
      checkpoints.save(
        program.init_state(run.initial_params()),
        data={},
        progress=dataclasses.asdict(progress),
        config=run.config,
      )
  return run


def random_log(
  num_users: int,
  num_items: int,
  events: int,
  tasks: tuple[str, ...] = (),
  seed: int = 0,
) -> pl.DataFrame:
  """user, item, timestamp and, where there are tasks, action of each event;
  every item and every action is there, if there are so many events."""
  draw, count = np.random.default_rng(seed), num_users * events
  items = draw.permutation(np.resize(np.arange(num_items), count))
  # No two events of a user are at one time.
  times = np.sort(draw.integers(0, _YEAR, (num_users, events)), axis=1)
  times += _BEGIN + np.arange(events)
  columns = {
    "user": [f"u{n}" for n in np.repeat(np.arange(num_users), events)],
    "item": [f"i{n}" for n in items],
    "timestamp": times.ravel(),
  }
  if tasks:
    names = np.array((SKIP, *tasks))
    columns["action"] = names[
      draw.permutation(np.arange(count) % len(names))
    ].tolist()
  return pl.DataFrame(columns)


def _tasks(layout: Mapping[str, Any]) -> tuple[str, ...]:
  """Actions that a layout asks about or shows."""
  nodes = [layout.get("feedback"), layout.get("shown")]
  names = [task for node in nodes if node for task in node["tasks"]]
  return tuple(dict.fromkeys(names))


def _on_log(
  config: Mapping[str, Any], path: pathlib.Path, has_actions: bool
) -> dict[str, Any]:
  """The config on the log; rankers are split in time."""
  config = copy.deepcopy(dict(config))
  config["data"] = {
    "name": "sources.Files",
    "path": str(path),
    "unit": "s",
    **({"action": "action"} if has_actions else {}),
  }
  config["prepared"], config["filter"] = "", {}
  config["split"] = {"name": "data.LeaveOneOut"}
  if has_actions:
    config["split"] = {
      "name": "data.GlobalTime",
      "validation_fraction": _TENTH,
      "test_fraction": _TENTH,
    }
  return config
