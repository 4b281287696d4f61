# SPDX-License-Identifier: Apache-2.0
"""A prepared data set as a random-access source of records.

    histories = Histories("WORKDIR/data")
    histories[3]      # Record of user 3: user (), item (L,), time (L,), ...

Record number = user index. It is a source for Grain's Dataset API: len,
indexing, and it can be sent to worker processes (files open there again).

Sizes of the files are compared when they are opened, and every record with its
hash when it is read; `verify` reads whole files.
"""

from collections.abc import Iterable, Iterator
import contextlib
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

from grain import sources
import numpy as np
import polars as pl

from genrec_jax.data import schema, splits
from genrec_jax.data.dataset.feedback import untimed_actions


@runtime_checkable
class HistorySource(Protocol):
  """Records of users by index, and the split that says what trains."""

  split: Any

  def __len__(self) -> int: ...

  def __getitem__(self, index: int) -> schema.Record: ...


class Histories:
  """Records of all users; `manifest` and `split` belong to them."""

  def __init__(self, directory: str | os.PathLike):
    """Opens a prepared data set.

    Raises:
      ValueError: nothing prepared there, another schema version, or files
        that are missing or do not hold one record per user.
    """
    self.directory = pathlib.Path(directory)
    self.manifest = schema.Manifest.load(directory)
    self.split = splits.load(self.manifest.split)
    self._codec = schema.Codec(self.manifest.fields)
    paths = [
      self.directory / shard_name(i, self.manifest.num_shards)
      for i in range(self.manifest.num_shards)
    ]
    self._paths = paths
    missing = [p.name for p in paths if not p.is_file()]
    if missing:
      raise ValueError(
        f"{self.directory} lacks {', '.join(missing)} of {len(paths)} history"
        f" files. {schema.prepare_again(self.directory)}"
      )
    names = [path.name for path in paths]
    self.manifest.check_files(self.directory, names, size_only=True)
    with self._naming_damage():
      self._records = sources.ArrayRecordDataSource([str(p) for p in paths])
    if len(self._records) != self.manifest.num_users:
      raise ValueError(
        f"{self.directory} holds {len(self._records)} records, its manifest"
        f" says {self.manifest.num_users} users."
        f" {schema.prepare_again(self.directory)}"
      )

  def verify(self) -> None:
    """Reads all files of histories and compares their checksums.

    Raises:
      ValueError: one is not what was written.
    """
    names = [path.name for path in self._paths]
    self.manifest.check_files(self.directory, names)

  def __len__(self) -> int:
    return self.manifest.num_users

  def __getitem__(self, index: int) -> schema.Record:
    """The record of a user index, 0 <= index < len.

    Raises:
      ValueError: it is damaged.
    """
    if not 0 <= index < len(self):
      raise IndexError(
        f"user index {index} is out of range: there are {len(self)} users."
      )
    with self._naming_damage(index):
      data = self._records[index]
    return self._codec.decode(data)

  def many(self, users: Iterable[int]) -> list[schema.Record]:
    """The records of several user indices, read together: about 5 times as
    fast as one by one.

    Raises:
      IndexError: one that is out of range.
      ValueError: a damaged file.
    """
    wanted = [int(user) for user in users]
    for user in wanted:
      if not 0 <= user < len(self):
        raise IndexError(
          f"user index {user} is out of range: there are {len(self)} users."
        )
    with self._naming_damage():
      found = self._records.__getitems__(wanted)
    return [self._codec.decode(data) for data in found]

  def times(self, record: schema.Record) -> pl.Series | None:
    """When a record's events were (UTC), null for those without a time.

    None where the data set has no times.
    """
    if "time" not in record:
      return None
    seconds = record["time"].astype(np.int64) + self.manifest.epoch_seconds
    times = pl.select(pl.from_epoch(pl.Series(seconds))).to_series()
    if "action" not in record:
      return times
    untimed = np.array(untimed_actions(self.manifest.actions), bool)
    return times.set(pl.Series(untimed[record["action"]]), None)

  @contextlib.contextmanager
  def _naming_damage(self, index: int | None = None) -> Iterator[None]:
    """ArrayRecord compares a hash of every record; its error names no file."""
    try:
      yield
    except RuntimeError as error:
      one = len(self._paths) == 1
      place = self._paths[0] if one else f"a history file in {self.directory}"
      user = "" if index is None else f" at user {index}"
      raise ValueError(
        f"{place} is damaged{user} ({str(error)[:80]})."
        f" {schema.prepare_again(self.directory)}"
      ) from error

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"Histories(fingerprint={self.manifest.fingerprint!r})"


def shard_name(index: int, count: int) -> str:
  """File name of one shard of the histories."""
  return f"histories-{index:05d}-of-{count:05d}.array_record"
