# SPDX-License-Identifier: Apache-2.0
"""From a table of events to a recommender, in one call.

    model = genrec_jax.fit(events)
    model.recommend(user="v17")

It does what scripts/train.py does with the same config, to the bit: the table
becomes a file in the workdir, and everything else is the config's.
"""

from collections.abc import Mapping
import dataclasses
import importlib
import os
import pathlib
import tempfile
from typing import Any

from ml_collections import ConfigDict
import polars as pl

from genrec_jax.core.dotted import flat
from genrec_jax.core.names import public_name
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.sources import frames
from genrec_jax.data.sources.tables import open_table
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.sections import check_config
from genrec_jax.experiment.training import alone, train
from genrec_jax.semantic_ids.stages import make_all
from genrec_jax.serving.loading import load
from genrec_jax.serving.recommender import Recommender
from genrec_jax.train.termination import Termination

# What `config` may say beside a ConfigDict of one's own.
CONFIGS: Mapping[str, tuple[str, str]] = {
  "hstu": ("configs.hstu_files", ""),
  "hstu_small": ("configs.hstu_files", "small"),
  "sasrec": ("configs.sasrec_files", ""),
  "sasrec_small": ("configs.sasrec_files", "small"),
  "tiger": ("configs.tiger_files", ""),
  "tiger_small": ("configs.tiger_files", "small"),
}


def fit(
  events: Any,
  items: Any = None,
  config: str | ConfigDict = "hstu",
  workdir: str | os.PathLike | None = None,
  *,
  columns: Mapping[str, str] | None = None,
  item_columns: Mapping[str, str] | None = None,
  **overrides: Any,
) -> Recommender:
  """Prepares a log of events, trains on it, and returns the recommender.

  Called again with the same workdir it goes on where it stopped.

  Args:
    events: a Polars or pandas DataFrame, or the path of a file: one event a
      row, with a user and an item, and a time and an action where there are.
    items: likewise, one item a row: its id, a title, and other columns, which
      become attributes.
    config: "hstu", "sasrec" or "tiger" (semantic IDs of the items' titles,
      made first), their small forms such as "hstu_small", or a config of one's
      own for sources.Files that evaluates next items.
    workdir: where the run lives; None makes a folder for temporary files.
    columns: role -> column of events, for user, item, timestamp and action;
      what is not said is guessed from usual names.
    item_columns: the same of items, for item and title.
    **overrides: values of the config by dotted name, `**{"train.steps": 500}`,
      or nested, `train={"steps": 500}`.

  Raises:
    ValueError: a table that cannot be read (as for files), columns that nobody
      knows, an unknown config or key of it, or a workdir of another run.
  """
  place = pathlib.Path(workdir or tempfile.mkdtemp(prefix="genrec-"))
  made = _config(config)
  log = _Input.of(events, place / "input" / "events.parquet")
  made.data.update(_of_events(log, columns))
  tables = [log]
  if items is not None:
    tables.append(_Input.of(items, place / "input" / "items.parquet"))
    made.data.update(_of_items(tables[-1], item_columns))
  for name, value in flat(overrides).items():
    _override(made, name, value)
  checked = check_config(made)
  _check(checked)
  with alone(place) as check:
    for table in tables:
      table.write()
    make_all(checked, place)
    train(Run.start(made, place), Termination(), check)
  return load(place)


@dataclasses.dataclass(frozen=True)
class _Input:
  """A file that is there, or a table that becomes one."""

  path: str
  names: list[str]
  table: pl.DataFrame | None

  @classmethod
  def of(cls, thing: Any, path: pathlib.Path) -> "_Input":
    if isinstance(thing, str | os.PathLike):
      rows = open_table(thing, []).rows
      return cls(str(thing), rows.collect_schema().names(), None)
    table = frames.as_polars(thing)
    return cls(str(path), table.columns, table)

  def write(self) -> None:
    if self.table is not None:
      frames.write_frame(self.table, self.path)


def _config(config: str | ConfigDict) -> ConfigDict:
  if isinstance(config, ConfigDict):
    return config.copy_and_resolve_references()
  if config not in CONFIGS:
    raise ValueError(
      f"config={config!r} is unknown.{choices_hint(config, CONFIGS)}"
    )
  module, argument = CONFIGS[config]
  return importlib.import_module(module).get_config(argument)


def _check(config: Mapping[str, Any]) -> None:
  """Raises where no recommender would come of a config, or not in one call."""
  kinds = [node.get("name") for node in config["evals"].values()]
  if public_name(NextItem) not in kinds:
    raise ValueError(
      f"fit returns a recommender, and the config {config['name']!r} has no"
      " evaluation.NextItem in config.evals: train a ranker with"
      " scripts/run.py, and open its workdir with genrec_jax.load_ranker."
    )
  if config["before"]:
    raise ValueError(
      f"fit trains one model, and the config {config['name']!r} has"
      f" {', '.join(config['before'])} trained first: use scripts/run.py."
    )


def _of_events(
  log: _Input, columns: Mapping[str, str] | None
) -> dict[str, Any]:
  """Values of config.data for a log."""
  roles = frames.guess_columns(log.names, frames.EVENT_ROLES, columns)
  return {"path": log.path, "timestamp": "", **roles}


def _of_items(
  table: _Input, columns: Mapping[str, str] | None
) -> dict[str, Any]:
  """Values of config.data for a table of items."""
  roles = frames.guess_columns(table.names, frames.ITEM_ROLES, columns)
  named = {f"items_{role}": column for role, column in roles.items()}
  return {"items_path": table.path, "items_title": "", **named}


def _override(config: ConfigDict, name: str, value: Any) -> None:
  *parents, last = name.split(".")
  node = config
  for parent in (*parents, last):
    if not isinstance(node, ConfigDict) or parent not in node:
      known = node.keys() if isinstance(node, ConfigDict) else ()
      raise ValueError(f"config has no {name!r}.{choices_hint(parent, known)}")
    if parent is not last:
      node = node[parent]
  with node.ignore_type():
    node[last] = value
