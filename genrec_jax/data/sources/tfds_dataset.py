# SPDX-License-Identifier: Apache-2.0
"""Any data set that TFDS has prepared, read without TensorFlow.

    TfdsDataset(
      "movielens/1m-ratings", "train",
      columns={"user": "user_id", "item": "movie_id", "timestamp": "timestamp",
               "title": "movie_title", "item.genres": "movie_genres",
               "user.age": "bucketized_user_age"},
    )

An example is an event, or a user with one-dimensional features of equal length,
which are their events. Labels are read as their names. The files must be ones
that can be read at random (array_record or parquet), as
`file_format="array_record"` prepares them.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from genrec_jax.core import checksums
from genrec_jax.core.checksums import MissingSource
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data import schema

_EVENT = ("user", "item", "timestamp", "action", "value", "request", "order")
_OF = ("item.", "user.")
# Names of data sets or features that an error lists.
_MOST = 40


@dataclasses.dataclass(frozen=True)
class TfdsDataset:
  """A split of a prepared data set.

  Attributes:
    dataset: its name, with config and version where it has them.
    split: such as "train" or "train[:10%]".
    columns: role -> feature. Roles are user, item (both needed), timestamp,
      action, value, request, order; title, of the item; and item.NAME and
      user.NAME, attributes of either (the first value that is there). A
      feature within another is "outer/inner".
    data_dir: where TFDS prepared it; '' = where TFDS looks.
    unit: of the timestamps: 's', 'ms', 'us' or 'ns'; None recognises it.
  """

  dataset: str
  split: str
  columns: Mapping[str, str]
  data_dir: str = ""
  unit: str | None = None

  def __post_init__(self):
    known = [*_EVENT, "title"]
    for role in self.columns:
      if role not in known and not role.startswith(_OF):
        raise ValueError(
          f"columns has the role {role!r}."
          + choices_hint(role, [*known, "item.NAME", "user.NAME"])
        )
    for role in ("user", "item"):
      if not self.columns.get(role):
        raise ValueError(
          f"columns={dict(self.columns)} must say which feature is the {role}."
        )

  def read(self) -> schema.RawLog:
    """Reads the split.

    Raises:
      ValueError: no such data set, split or feature (names those there are), or
        features that are no events.
    """
    builder = self._builder()
    readers = {
      role: _reader(builder.info.features, path, role)
      for role, path in self.columns.items()
      if path
    }
    rows = _rows(self._source(builder), readers)
    events = rows.select(role for role in _EVENT if role in rows.columns)
    described = {
      role: role.removeprefix("item.")
      for role in rows.columns
      if role == "title" or role.startswith("item.")
    }
    of_users = {
      role: role.removeprefix("user.")
      for role in rows.columns
      if role.startswith("user.")
    }
    return schema.RawLog(
      events=events,
      items=_firsts(rows, "item", described),
      users=_firsts(rows, "user", of_users) if of_users else None,
      sources=self.checksums(),
      timestamp_unit=self.unit,
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of all files of the data set."""
    folder = pathlib.Path(self._builder().data_path)
    return checksums.sha256(sorted(p for p in folder.iterdir() if p.is_file()))

  def _builder(self) -> Any:
    # Here: it takes half a second, and few read such data.
    from tensorflow_datasets.core import read_only_builder, registered

    where = {"data_dir": self.data_dir} if self.data_dir else {}
    try:
      return read_only_builder.builder_from_files(self.dataset, **where)
    except registered.DatasetNotFoundError as error:
      folder = self._looked_in()
      there = sorted(p.name for p in folder.glob("*") if p.is_dir())[:_MOST]
      raise MissingSource(
        f"TFDS has prepared no data set {self.dataset!r} in {folder}, which"
        f" holds {', '.join(there) or 'none'}. Prepare it, with its config"
        f' where it has several: tfds.builder("{self.dataset}",'
        f' data_dir="{folder}", file_format="array_record")'
        ".download_and_prepare(); or set data_dir= of the source."
      ) from error

  def _looked_in(self) -> pathlib.Path:
    named = self.data_dir or os.environ.get("TFDS_DATA_DIR")
    return pathlib.Path(named or "~/tensorflow_datasets").expanduser()

  def _source(self, builder: Any) -> Any:
    name = self.split.partition("[")[0]
    for part in name.split("+"):
      if part.strip() not in builder.info.splits:
        raise ValueError(
          f"{self.dataset} has no split {part!r}."
          + choices_hint(part, list(builder.info.splits))
        )
    try:
      return builder.as_data_source(self.split)
    except NotImplementedError as error:
      kinds = [kind.value for kind in builder.info.available_file_formats()]
      raise ValueError(
        f"{builder.data_path} holds {', '.join(kinds)} files, which cannot be"
        " read without TensorFlow. Prepare it in another data_dir with"
        ' file_format="array_record".'
      ) from error


def _reader(features: Any, path: str, role: str) -> Any:
  """The function from an example to the feature, as a scalar or an array."""
  # Here, see TfdsDataset._builder.
  import tensorflow_datasets as tfds

  there = _leaves(features)
  if path not in there:
    hint = choices_hint(path, list(there)[:_MOST])
    raise ValueError(
      f"columns says {role}={path!r}, which is no feature.{hint}"
    )
  parts, found = path.split("/"), there[path]
  label = found if isinstance(found, tfds.features.ClassLabel) else None

  def read(example: Mapping[str, Any]) -> np.ndarray:
    for part in parts:
      example = example[part]
    value = np.asarray(example)
    if value.ndim > 1 or value.dtype.kind not in "biufSUO":
      raise ValueError(
        f"the feature {path!r} (columns: {role}) has the shape {value.shape}:"
        " an event has one value of it."
      )
    if label is not None:
      names = np.array(label.names, object)
      return np.where(value < 0, None, names[np.maximum(value, 0)])
    return value

  return read


def _leaves(features: Any, before: str = "") -> dict[str, Any]:
  """Features by name, those within others behind a slash; of sequences what
  one of their places holds."""
  import tensorflow_datasets as tfds

  while isinstance(features, tfds.features.Sequence):
    features = features.feature
  if not isinstance(features, tfds.features.FeaturesDict):
    return {before.rstrip("/"): features}
  found = {}
  for name, inner in features.items():
    found |= _leaves(inner, f"{before}{name}/")
  return found


def _rows(source: Any, readers: Mapping[str, Any]) -> pl.DataFrame:
  """All events, one a row."""
  columns = {role: [] for role in readers}
  for number, example in enumerate(
    tqdm(source, desc="read TFDS", unit=" examples", delay=2)
  ):
    values = {role: read(example) for role, read in readers.items()}
    lengths = {role: len(v) for role, v in values.items() if v.ndim}
    if len(set(lengths.values())) > 1:
      raise ValueError(
        f"example {number} has features of different lengths:"
        f" {', '.join(f'{r} {n}' for r, n in lengths.items())}. Those of one"
        " example must be its events, or one value for all of them."
      )
    length = next(iter(lengths.values()), 1)
    for role, value in values.items():
      columns[role].append(np.broadcast_to(value, (length,)))
  return pl.DataFrame(
    {role: _column(np.concatenate(parts)) for role, parts in columns.items()}
  )


def _column(values: np.ndarray) -> pl.Series:
  """Text as text, and the rest as it is."""
  if values.dtype.kind not in "SUO":
    return pl.Series(values)
  decoded = [
    v.decode(errors="replace") if isinstance(v, bytes) else v
    for v in values.tolist()
  ]
  return pl.Series(
    [None if v in (None, "") else str(v) for v in decoded], dtype=pl.String
  )


def _firsts(
  rows: pl.DataFrame, key: str, roles: Mapping[str, str]
) -> pl.DataFrame:
  """A row per id, with the first value of each attribute that is there."""
  return rows.group_by(key, maintain_order=True).agg(
    pl.col(role).drop_nulls().first().alias(name)
    for role, name in roles.items()
  )
