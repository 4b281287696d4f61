# SPDX-License-Identifier: Apache-2.0
"""What a source delivers, what a prepared data set holds, how a record lies.

A source reads a RawLog; data/prepare/preparation.py turns it into a prepared
data set:

    manifest.json  catalog.parquet  users.parquet
    histories-SSSSS-of-NNNNN.array_record     record number = user index

A Record is one user's history, sorted by (time, order in file): `user` int32
(), `item` int32 (L,), and where the source has them `time` int32 (L,) seconds
since Manifest.epoch_seconds, `action` int32 (L,) (0 = none), `value` float32
(L,) (NaN = none), `request` int32 (L,) (running number within the user),
`scene` int32 (L,) (where the item was shown, 0 = not known).
On disk it is a uint32 header, the user, and the arrays end to end, little
endian, four bytes an element; the length follows from the byte count.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import json
import os
import pathlib
from typing import Any, Protocol, runtime_checkable
import zlib

import numpy as np
import polars as pl

from genrec_jax.core import atomic, crc, sealed
from genrec_jax.data import zones
from genrec_jax.data.action_log import ActionLog

SCHEMA_VERSION = 1
FIELDS = {
  "item": "int32",
  "time": "int32",
  "action": "int32",
  "value": "float32",
  "request": "int32",
  "scene": "int32",
}
SORT_RULE = "stable by (time, order in file)"

Record = dict[str, np.ndarray]


@dataclasses.dataclass
class RawLog:
  """An event log as it came, with names unified and nothing interpreted.

  Attributes:
    events: columns user and item (text, integers or whole floats); where the
      source has them timestamp (integers or floats in one unit, ISO text, or
      a date type), action, value, request, scene, and order (a number to sort
      events of equal time by; the row number where absent).
    items: columns item, title (optional) and attributes; may be empty.
    users: column user and attributes; None where the source has no table.
    sources: file name -> sha256 of what was read.
    dropped: rows the source left out, by reason.
    actions: vocabulary in a fixed order; None takes the sorted ones.
    extras: file name -> bytes to lay beside the histories.
    timestamp_unit: 's', 'ms', 'us', 'ns', or None to recognise it.
    time_zone: of timestamps that are dates or text and name none.
    action_log: the rule by which rows of actions become impressions; None
      leaves them as they are.
    explain: turns an error met while events are read into a message that says
      where.
  """

  events: pl.DataFrame | pl.LazyFrame
  items: pl.DataFrame = dataclasses.field(
    default_factory=lambda: pl.DataFrame({"item": [], "title": []})
  )
  sources: dict[str, str] = dataclasses.field(default_factory=dict)
  dropped: dict[str, int] = dataclasses.field(default_factory=dict)
  actions: list[str] | None = None
  extras: dict[str, bytes] = dataclasses.field(default_factory=dict)
  users: pl.DataFrame | None = None
  timestamp_unit: str | None = None
  explain: Callable[[Exception], str] | None = None
  action_log: ActionLog | None = None
  time_zone: str = zones.UTC


def later(default: Any) -> Any:
  """A field of a source that came after data had been prepared with it.

  At its default it says nothing of the source, so that data prepared before it
  are still what a config asks for.
  """
  return dataclasses.field(default=default, metadata={"later": True})


@runtime_checkable
class Source(Protocol):
  """Where a log comes from; it may be a FileSource or a RemoteSource too."""

  def read(self) -> RawLog: ...


@runtime_checkable
class FileSource(Protocol):
  """A source of files that are known by their contents."""

  def checksums(self) -> dict[str, str]:
    """File name -> sha256, without reading the log."""


@runtime_checkable
class RemoteSource(Protocol):
  """A source that is downloaded first."""

  def fetch(self, directory: str | os.PathLike) -> Source:
    """The source to read, after a download below `directory`."""

  def fetched(self, directory: str | os.PathLike) -> pathlib.Path:
    """The folder below `directory` that `fetch` makes or finds."""


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a prepared data set says of itself; manifest.json is its text.

  Attributes:
    counts: {"in": rows read, "out": events kept, "dropped": {reason: n},
      ...}, where in = out + sum of dropped; "user_table" is there where the
      source has one, with the same keys as item_table has for items;
      "impressions" where rows of actions became some (data/prepare/labels.py).
    fields: name -> dtype of the arrays of a record, in their order on disk.
    epoch_seconds: unix seconds at time 0 = the earliest event, or 29 years
      before the last one where that is later; None where the source has no
      times, as median_gap_seconds (between one user's consecutive events of the
      training part).
    split: the resolved split, see data/splits.py.
    actions: vocabulary; index 0 is '' (none).
    scenes: likewise; empty in data without scenes.
    options: source, split and filter as configured; what fingerprint hashes
      together with the checksums.
    files: name -> size and CRC-32 of every other file (core/crc.py); empty in
      data sets from before there were any.
  """

  source: str
  checksums: dict[str, str]
  counts: dict[str, Any]
  item_table: dict[str, int]
  fields: dict[str, str]
  epoch_seconds: int | None
  num_users: int
  num_items: int
  num_events: int
  num_shards: int
  split: dict[str, Any]
  actions: list[str]
  median_gap_seconds: int | None
  options: dict[str, Any]
  fingerprint: str
  sort_rule: str = SORT_RULE
  schema_version: int = SCHEMA_VERSION
  files: dict[str, str] = dataclasses.field(default_factory=dict)
  scenes: list[str] = dataclasses.field(default_factory=list)

  def save(self, directory: str | os.PathLike) -> None:
    """Writes manifest.json atomically, with its own checksum."""
    values = sealed.seal(dataclasses.asdict(self))
    text = json.dumps(values, indent=2, ensure_ascii=False)
    atomic.write_text(pathlib.Path(directory) / "manifest.json", text + "\n")

  def check_files(
    self,
    directory: str | os.PathLike,
    names: Iterable[str] | None = None,
    *,
    size_only: bool = False,
  ) -> None:
    """Raises a ValueError where files are not what was written.

    Args:
      directory: the prepared data set.
      names: of the files to check; None = all. Those without a checksum are
        not checked.
      size_only: look at their sizes alone.
    """
    names = self.files if names is None else names
    sums = {name: self.files[name] for name in names if name in self.files}
    wrong = crc.changed(directory, sums, size_only=size_only)
    if wrong:
      raise ValueError(
        f"{crc.said(directory, wrong)}. {prepare_again(directory)}"
      )

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "Manifest":
    """Reads manifest.json.

    Raises:
      ValueError: no manifest, damaged, or another schema version.
    """
    path = pathlib.Path(directory) / "manifest.json"
    if not path.is_file():
      raise ValueError(
        f"no prepared data set in {path.parent}: manifest.json, which is"
        " written last, is missing. Run genrec prepare with this"
        " --workdir."
      )
    fix = prepare_again(directory)
    values = sealed.read_json(path, fix)
    version = values.get("schema_version")
    if version != SCHEMA_VERSION:
      raise ValueError(
        f"{path} has schema version {version!r}, this code reads"
        f" {SCHEMA_VERSION}. {fix}"
      )
    values = sealed.unseal(values, path, fix)
    names = {f.name for f in dataclasses.fields(cls)}
    # What data sets of before lack.
    if set(values) | {"files", "scenes"} != names:
      raise ValueError(
        f"{path} is damaged: missing {sorted(names - set(values))}, unknown"
        f" {sorted(set(values) - names)}. {fix}"
      )
    return cls(**values)


def prepare_again(directory: str | os.PathLike) -> str:
  """What to do about a damaged data set."""
  return f"Delete {directory} and run genrec prepare again."


class Codec:
  """Record <-> bytes for one set of fields."""

  def __init__(self, fields: Mapping[str, str]):
    wrong = {n: d for n, d in fields.items() if FIELDS.get(n) != d}
    if wrong or "item" not in fields:
      raise ValueError(
        f"fields {dict(fields)} cannot be stored: item is needed, and each"
        f" must be one of {FIELDS}."
      )
    self.fields = dict(fields)
    tag = zlib.crc32(json.dumps(list(fields.items())).encode()) & 0xFFFFFF
    self._header = SCHEMA_VERSION << 24 | tag
    self._names = [(n, d == "float32") for n, d in fields.items()]

  def prefix(self, user: int) -> bytes:
    """The eight bytes before the arrays."""
    return np.array([self._header, user], "<u4").tobytes()

  def encode(self, record: Mapping[str, np.ndarray]) -> bytes:
    """Bytes of a record; its arrays must have the fields' dtypes."""
    parts = [self.prefix(int(record["user"]))]
    length = len(record["item"])
    for name, dtype in self.fields.items():
      array = record[name]
      if array.dtype != dtype or array.shape != (length,):
        raise ValueError(
          f"field {name} must be {dtype} ({length},), got {array.dtype}"
          f" {array.shape}."
        )
      parts.append(array.astype("<" + array.dtype.str[1:]).tobytes())
    return b"".join(parts)

  def decode(self, data: bytes) -> Record:
    """The record behind the bytes; arrays are read-only views of them."""
    words = np.frombuffer(data, "<i4")
    length, rest = divmod(len(words) - 2, len(self._names))
    if rest or length < 0 or int(words[0]) & 0xFFFFFFFF != self._header:
      raise ValueError(
        f"a record of {len(data)} bytes does not hold the fields"
        f" {list(self.fields)} of schema version {SCHEMA_VERSION}: the files"
        " and the manifest do not belong together. Prepare the data again."
      )
    record = {"user": words[1:2].reshape(())}
    start = 2
    for name, is_float in self._names:
      array = words[start : start + length]
      record[name] = array.view("<f4") if is_float else array
      start += length
    return record
