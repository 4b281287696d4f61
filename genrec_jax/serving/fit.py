# SPDX-License-Identifier: Apache-2.0
"""From a table of events to a recommender, in one call.

    model = genrec_jax.fit(events)
    model.recommend(user="v17")

It does what genrec train does with the same config, to the bit: the table
becomes a file in the workdir, and everything else is the config's.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import importlib
import os
import pathlib
import tempfile
from typing import Any

from ml_collections import ConfigDict
import polars as pl

from genrec_jax.core.dotted import flat, section_of
from genrec_jax.core.names import public_name
from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.sources import frames
from genrec_jax.data.sources.files import quote_fix
from genrec_jax.data.sources.tables import open_table
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.sections import check_config
from genrec_jax.experiment.training import alone, train
from genrec_jax.semantic_ids.stages import make_all
from genrec_jax.serving.loading import load
from genrec_jax.serving.recommender import Recommender
from genrec_jax.train.termination import Termination

# Values of config.data that say how a file is opened.
_FORM = ("format", "separator", "columns", "nested")
# Type of a value in the config -> what may take its place.
_KINDS = (
  (bool, bool, "True or False"),
  (int, int, "a whole number"),
  (float, int | float, "a number"),
  (str, str, "a text ('' where there is none)"),
  ((list, tuple), list | tuple, "a list"),
)
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
  config: Any = "hstu",
  workdir: Any = None,
  *,
  columns: Any = None,
  item_columns: Any = None,
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
  if not isinstance(workdir, str | os.PathLike | None):
    raise ValueError(f"workdir={short(workdir)} must be a path.")
  made, changes = _config(config), flat(overrides)
  _apply(made, changes)
  place = pathlib.Path(workdir or tempfile.mkdtemp(prefix="genrec-"))
  with _not_empty(place), alone(place) as check:
    log = _Input.of(events, "events", place, made.data)
    made.data.update(_of_events(log, columns, changes))
    tables = [log]
    if items is not None:
      tables.append(_Input.of(items, "items", place, made.data, "items_"))
      made.data.update(_of_items(tables[-1], item_columns))
    _apply(made, changes)
    checked = check_config(made)
    _check(checked)
    for table in tables:
      table.write(replace=not (place / "data").exists())
    make_all(checked, place)
    train(Run.start(made, place), Termination(), check)
  return load(place)


@contextlib.contextmanager
def _not_empty(place: pathlib.Path) -> Iterator[None]:
  """Leaves no empty folder behind."""
  try:
    yield
  finally:
    with contextlib.suppress(OSError):
      place.rmdir()


@dataclasses.dataclass(frozen=True)
class _Input:
  """A file that is there, or a table that becomes one."""

  path: str
  names: list[str]
  table: pl.DataFrame | None

  @classmethod
  def of(
    cls,
    thing: Any,
    what: str,
    place: pathlib.Path,
    data: ConfigDict,
    prefix: str = "",
  ) -> "_Input":
    """A table of `what`, which a run in `place` keeps if it is no file.

    Args:
      thing: the table, or the file's path.
      what: its name in the workdir.
      place: the workdir.
      data: config.data, which says how a file is opened.
      prefix: of the names of these options.

    Raises:
      ValueError: no table, or a file that cannot be opened.
    """
    if isinstance(thing, str | os.PathLike):
      said = {name: data.get(f"{prefix}{name}") or None for name in _FORM}
      table = open_table(
        thing,
        [],
        **said,
        quote=data.get(f"{prefix}quote", '"'),
        quote_fix=quote_fix(f"{prefix}quote"),
      )
      return cls(str(thing), table.rows.collect_schema().names(), None)
    try:
      table = frames.as_polars(thing)
    except ValueError as error:
      raise ValueError(f"{what}: {error}") from None
    path = place / "input" / f"{what}.parquet"
    return cls(str(path), table.columns, table)

  def write(self, *, replace: bool) -> None:
    if self.table is not None:
      frames.write_frame(self.table, self.path, replace=replace)


def _config(config: Any) -> ConfigDict:
  if isinstance(config, ConfigDict):
    return config.copy_and_resolve_references()
  if not isinstance(config, str) or config not in CONFIGS:
    raise ValueError(
      f"config={short(config)} is unknown.{choices_hint(config, CONFIGS)}"
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
      " genrec run, and open its workdir with genrec_jax.load_ranker."
    )
  if config["before"]:
    raise ValueError(
      f"fit trains one model, and the config {config['name']!r} has"
      f" {', '.join(config['before'])} trained first: use genrec run."
    )


def _of_events(
  log: _Input, columns: Any, changes: Mapping[str, Any]
) -> dict[str, Any]:
  """Values of config.data for a log; `changes` may name columns too."""
  if isinstance(columns, Mapping | None):
    said = {role: changes.get(f"data.{role}") for role in frames.EVENT_ROLES}
    columns = {r: name for r, name in said.items() if name} | (columns or {})
  roles = frames.guess_columns(log.names, frames.EVENT_ROLES, columns)
  return {"path": log.path, "timestamp": "", **roles}


def _of_items(table: _Input, columns: Any) -> dict[str, Any]:
  """Values of config.data for a table of items."""
  roles = frames.guess_columns(
    table.names, frames.ITEM_ROLES, columns, argument="item_columns"
  )
  named = {f"items_{role}": column for role, column in roles.items()}
  return {"items_path": table.path, "items_title": "", **named}


def _apply(config: ConfigDict, changes: Mapping[str, Any]) -> None:
  for name, value in changes.items():
    _override(config, name, value)


def _override(config: ConfigDict, name: str, value: Any) -> None:
  node, last = section_of(config, name)
  _check_kind(name, node, last, value)
  with node.ignore_type():
    node[last] = value


def _check_kind(name: str, node: ConfigDict, key: str, value: Any) -> None:
  """Raises a ValueError where a value cannot stand for the one in the node."""
  old = node[key]
  if isinstance(old, Mapping | ConfigDict):
    raise ValueError(
      f"{name}={short(value)}: {name} is a section of the config with the keys"
      f" {', '.join(old)}."
    )
  if value is None and old is None:
    return
  for kind, allowed, what in _KINDS:
    if issubclass(node.get_type(key), kind):
      wrong = isinstance(value, bool) and kind is not bool
      if wrong or not isinstance(value, allowed):
        raise ValueError(f"{name}={short(value)} must be {what}.")
      if isinstance(value, list | tuple):
        _check_elements(name, old or (), value)
      return


def _check_elements(name: str, old: Any, value: Any) -> None:
  """Elements are of the types that are there, or text where there are none."""
  kinds = tuple({type(element) for element in old}) or (str,)
  for element in value:
    if not isinstance(element, kinds):
      names = " or ".join(sorted(kind.__name__ for kind in kinds))
      raise ValueError(
        f"{name}={short(value)}: {short(element)} must be {names}."
      )
