# SPDX-License-Identifier: Apache-2.0
"""Item and user tables of a prepared data set: indices <-> ids.

    catalog = Catalog("WORKDIR/data")
    catalog.ids[i], catalog.titles[i], catalog.count[i]      # i in 1..V
    catalog.index_of("B004756YJA")

`id_column` and `title_column` are the same as Polars columns, for tables of
many rows. Row 0 is padding: id '', title '', count 0. `count` counts events of
the training part only, so that popularity never sees a target.
"""

from collections.abc import Iterable, Sequence
import difflib
import functools
import os
import pathlib

from jaxtyping import Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data import ids, schema


class Catalog:
  """Items of a prepared data set; lists are indexed by item index."""

  def __init__(self, directory: str | os.PathLike):
    manifest = schema.Manifest.load(directory)
    table = _read(directory, "catalog.parquet", manifest, manifest.num_items)
    self.num_items: int = manifest.num_items
    self.fingerprint: str = manifest.fingerprint
    self.id_column: pl.Series = pl.Series([""]).extend(table["item_id"])
    self.title_column: pl.Series = pl.Series([""]).extend(table["title"])
    self.count: Int[np.ndarray, "rows"] = np.concatenate(
      [np.zeros(1, np.int64), table["count"].to_numpy()]
    )
    self.attributes = table.drop("item_id", "title", "count")

  @property
  def known_attributes(self) -> pl.DataFrame:
    """What the source knows of its items; `attributes` has the index too."""
    return self.attributes.drop("index", strict=False)

  @functools.cached_property
  def ids(self) -> list[str]:
    """Of every item index."""
    return self.id_column.to_list()

  @functools.cached_property
  def titles(self) -> list[str]:
    """Of every item index."""
    return self.title_column.to_list()

  @functools.cached_property
  def _index(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.ids) if i}

  def index_of(self, item_id: object) -> int:
    """Item index of an id (data/ids.py: 1, 1.0 and '1' are one).

    Raises:
      ValueError: unknown id; names close ones.
    """
    return _lookup(self._index, item_id, "item")

  def known(self, item_ids: Iterable[object]) -> Int[np.ndarray, "n"]:
    """Item indices of those ids that the catalogue has, in their order."""
    found = (self._index.get(ids.text_of(name)) for name in item_ids)
    return np.array([i for i in found if i is not None], np.int64)

  def attribute_texts(
    self, name: str, index_N: Int[np.ndarray, "N"]
  ) -> list[str | None]:
    """An attribute of items, as text; None where it is not known.

    Raises:
      ValueError: there is no such attribute.
    """
    table = self.known_attributes
    if name not in table.columns:
      raise ValueError(
        f"items have no attribute {short(name)}."
        + choices_hint(name, table.columns)
      )
    found = table[name].gather(index_N - 1).to_list()
    return [None if x in (None, "") else str(x) for x in found]


class Users:
  """Users of a prepared data set; `ids` and `events` by user index.

  Row u of `attributes` is that of user u; it has no column but `user` where
  the source knows nothing of its users.
  """

  def __init__(self, directory: str | os.PathLike):
    manifest = schema.Manifest.load(directory)
    table = _read(directory, "users.parquet", manifest, manifest.num_users)
    self.num_users: int = manifest.num_users
    self.id_column: pl.Series = table["user_id"]
    self.events: Int[np.ndarray, "U"] = table["events"].to_numpy()
    self.attributes = table.drop("user_id", "events")

  @functools.cached_property
  def ids(self) -> list[str]:
    """Of every user index."""
    return self.id_column.to_list()

  @functools.cached_property
  def _index(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.ids)}

  def index_of(self, user_id: object) -> int:
    """User index of an id.

    Raises:
      ValueError: unknown id; names close ones.
    """
    return _lookup(self._index, user_id, "user")


def _read(
  directory: str | os.PathLike,
  name: str,
  manifest: schema.Manifest,
  rows: int,
) -> pl.DataFrame:
  path, fix = pathlib.Path(directory) / name, schema.prepare_again(directory)
  if not path.is_file():
    raise ValueError(f"{path} is missing. {fix}")
  manifest.check_files(directory, [name])
  try:
    table = pl.read_parquet(path)
  except (pl.exceptions.PolarsError, OSError) as error:
    raise ValueError(f"{path} is damaged ({str(error)[:80]}). {fix}") from error
  if len(table) != rows:
    raise ValueError(
      f"{path} has {len(table)} rows, the manifest says {rows}. {fix}"
    )
  return table


def _lookup(index: dict[str, int], wanted: object, kind: str) -> int:
  found = index.get(ids.text_of(wanted))
  if found is not None:
    return found
  text = str(wanted)
  close = difflib.get_close_matches(text, _near(text, index), n=3)
  hint = f" Close: {', '.join(map(short, close))}." if close else ""
  example = next(iter(index), None)
  raise ValueError(
    f"no {kind} {short(text)} among {len(index):,} {kind}s.{hint}"
    f" Ids look like {short(example)}."
  )


def _near(text: str, names: dict[str, int]) -> Sequence[str]:
  # difflib compares with every candidate: keep those of like length and the
  # same beginning or end, or a million ids would take minutes.
  short = [n for n in names if abs(len(n) - len(text)) <= 2]
  if len(short) > 20_000:
    head, tail = text[:2], text[-2:]
    short = [n for n in short if n.startswith(head) or n.endswith(tail)]
  return short[:20_000]
