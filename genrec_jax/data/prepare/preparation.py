# SPDX-License-Identifier: Apache-2.0
"""Source + split -> prepared data set on disk, whole or not at all.

    prepare(MovieLens("1m"), LeaveOneOut(), "WORKDIR/data", min_item_events=5)

The set is written to WORKDIR/data.tmp-<pid>-<random>, its manifest last, and
renamed: a folder under the final name is complete, whatever happened to the
process or the disk. The manifest keeps a fingerprint of source, options and
split. A second call with the same fingerprint changes nothing; with another it
is an error that names what differs.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import errno
import hashlib
import inspect
import json
import os
import pathlib
import shutil
from typing import Any

from absl import logging
from array_record.python import array_record_module
from jaxtyping import Int
import numpy as np
import polars as pl
from tqdm import tqdm

from genrec_jax.core import atomic, crc, seams
from genrec_jax.core.checksums import MissingSource
from genrec_jax.core.dotted import flat
from genrec_jax.core.names import public_name
from genrec_jax.data import schema, splits
from genrec_jax.data.dataset.histories import shard_name
from genrec_jax.data.prepare import encoding

_SHARD_BYTES = 1 << 28
# Options that came later: left out of a fingerprint at their default, so that
# what was prepared before them is still what a config asks for.
_LATER = (
  *("last_events", "hold_out_items", "hold_out_seed"),
  *("drop_unreadable_timestamps", "ignore_timestamps", "keep_null_words"),
)


def prepare(
  source: schema.Source,
  split: splits.LeaveOneOut | splits.GlobalTime,
  directory: str | os.PathLike,
  **options: Any,
) -> schema.Manifest:
  """Prepares a data set in `directory`, or finds it prepared.

  Args:
    source: where events and items come from.
    split: an unresolved split.
    directory: the final folder, such as WORKDIR/data; a download goes beside.
    **options: keyword arguments of `encode`.

  Raises:
    ValueError: bad input, or `directory` holds something else.
    OSError: the disk is full.

  After an error nothing is left behind, a download of this call included.
  """
  directory = pathlib.Path(directory)
  settings = _settings(source, split, options)
  if directory.exists():
    return _already_prepared(directory, settings, source)
  if seams.offers(source, schema.RemoteSource):
    with _nothing_left(directory.parent, source.fetched(directory.parent)):
      directory.parent.mkdir(parents=True, exist_ok=True)
      fetched = source.fetch(directory.parent)
      return _prepare(fetched, source, split, directory, settings, options)
  return _prepare(source, source, split, directory, settings, options)


def _prepare(
  opened: schema.Source,
  source: schema.Source,
  split: splits.LeaveOneOut | splits.GlobalTime,
  directory: pathlib.Path,
  settings: dict[str, Any],
  options: Mapping[str, Any],
) -> schema.Manifest:
  """Reads `opened`, which is what was fetched of `source`, and writes it."""
  raw = opened.read()
  sequences = encoding.encode(raw, **options)
  directory.parent.mkdir(parents=True, exist_ok=True)
  shards = _shards(sequences)
  manifest = _manifest(raw, sequences, split, settings, len(shards))
  try:
    with _written_whole(directory, _bytes_needed(sequences)) as partial:
      train_end = _write_histories(sequences, manifest, shards, partial)
      manifest = dataclasses.replace(
        manifest,
        median_gap_seconds=sequences.median_gap_seconds(
          train_end, of_moments=manifest.split.get("once_a_moment", False)
        ),
      )
      _write_tables(sequences, train_end, partial)
      for name, data in raw.extras.items():
        (partial / name).write_bytes(data)
      names = sorted(path.name for path in partial.iterdir())
      sums = crc.file_sums(partial, names)
      dataclasses.replace(manifest, files=sums).save(partial)
  except OSError as e:
    if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
      raise
    # Another process, perhaps of another host, was faster.
    return _already_prepared(directory, settings, source)
  return schema.Manifest.load(directory)


def check_prepared(
  source: schema.Source,
  split: splits.LeaveOneOut | splits.GlobalTime,
  directory: str | os.PathLike,
  **options: Any,
) -> schema.Manifest:
  """The manifest of a data set that `prepare` would not have to make.

  Files of the source that are not here are not compared (a warning says so).

  Args:
    source: as for `prepare`.
    split: as for `prepare`.
    directory: the folder of a prepared data set, which is left as it is.
    **options: keyword arguments of `encode`.

  Raises:
    ValueError: nothing prepared there, or something else (names what differs).
  """
  return _already_prepared(
    pathlib.Path(directory),
    _settings(source, split, options),
    source,
    fix="Give config.prepared the data of this config's data, split and"
    " filter, or leave it empty to have them prepared.",
  )


def _settings(
  source: schema.Source,
  split: splits.LeaveOneOut | splits.GlobalTime,
  options: Mapping[str, Any],
) -> dict[str, Any]:
  """All that decides what is prepared, but for the content of files."""
  return {
    "source": _describe(source),
    "split": _describe(split),
    "filter": _filter_options(options),
  }


def _manifest(
  raw: schema.RawLog,
  sequences: encoding.Sequences,
  split: splits.LeaveOneOut | splits.GlobalTime,
  settings: Mapping[str, Any],
  num_shards: int,
) -> schema.Manifest:
  """The manifest but for the gap, which needs the training parts."""
  return schema.Manifest(
    source=settings["source"]["name"],
    checksums=raw.sources,
    counts=sequences.counts,
    item_table=sequences.item_table,
    fields={name: schema.FIELDS[name] for name in sequences.fields},
    epoch_seconds=sequences.epoch_seconds,
    num_users=len(sequences.user_ids),
    num_items=len(sequences.items),
    num_events=int(sequences.offsets[-1]),
    num_shards=num_shards,
    split=split.resolve(
      sequences.fields.get("time"), sequences.epoch_seconds, sequences.actions
    ),
    actions=sequences.actions,
    median_gap_seconds=None,
    options=dict(settings),
    fingerprint=_fingerprint(settings, raw.sources),
    scenes=sequences.scenes,
  )


def _describe(thing: Any) -> dict[str, Any]:
  """Name and constructor arguments, as JSON keeps them.

  Paths are left out where checksums stand for the files: a copy of the same
  files elsewhere is the same source.
  """
  kind = type(thing)
  if dataclasses.is_dataclass(thing):
    values = {
      f.name: getattr(thing, f.name)
      for f in dataclasses.fields(thing)
      if not (f.metadata.get("later") and getattr(thing, f.name) == f.default)
    }
  else:
    values = {k: v for k, v in vars(thing).items() if not k.startswith("_")}
  if seams.offers(thing, schema.FileSource):
    values = {
      k: v for k, v in values.items() if not k.endswith(("path", "_dir"))
    }
  return json.loads(json.dumps({"name": public_name(kind), **values}))


def _filter_options(options: Mapping[str, Any]) -> dict[str, Any]:
  """All keyword arguments of `encode`, defaults filled in."""
  parameters = inspect.signature(encoding.encode).parameters.values()
  defaults = {p.name: p.default for p in parameters if p.name != "raw"}
  unknown = sorted(set(options) - set(defaults))
  if unknown:
    raise ValueError(
      f"unknown filter option {', '.join(unknown)}; there are"
      f" {', '.join(defaults)}."
    )
  given = {**defaults, **options}
  return {
    name: value
    for name, value in given.items()
    if name not in _LATER or value != defaults[name]
  }


def _fingerprint(
  settings: Mapping[str, Any], checksums: Mapping[str, str]
) -> str:
  text = json.dumps(
    [schema.SCHEMA_VERSION, settings, checksums], sort_keys=True
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _already_prepared(
  directory: pathlib.Path,
  settings: Mapping[str, Any],
  source: schema.Source,
  fix: str = "Use another --workdir, or delete that folder to prepare it"
  " again.",
) -> schema.Manifest:
  """The manifest of what is there, if it is what is wanted."""
  manifest = schema.Manifest.load(directory)
  checksums = manifest.checksums
  if seams.offers(source, schema.FileSource):
    try:
      checksums = source.checksums()
    except MissingSource as e:
      # A run may go on where its source has been cleared away.
      logging.warning("%s Cannot compare it with %s.", e, directory)
  old = flat({**manifest.options, "checksums": manifest.checksums})
  new = flat({**settings, "checksums": checksums})
  changes = [
    f"{key}: {old.get(key)!r} there, {new.get(key)!r} wanted"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  ]
  if changes:
    raise ValueError(
      f"{directory} was prepared for another configuration ("
      + "; ".join(changes)
      + f"). {fix}"
    )
  logging.info("%s is up to date; nothing to prepare.", directory)
  return manifest


@contextlib.contextmanager
def _nothing_left(
  workdir: pathlib.Path, fetched: pathlib.Path
) -> Iterator[None]:
  """Takes a download back, and an empty workdir, where an error follows."""
  new = [path for path in (workdir, fetched) if not path.exists()]
  try:
    yield
  except Exception:
    if fetched in new:
      shutil.rmtree(fetched, ignore_errors=True)
    if workdir in new:
      with contextlib.suppress(OSError):
        workdir.rmdir()
    raise


@contextlib.contextmanager
def _written_whole(
  directory: pathlib.Path, needed: int
) -> Iterator[pathlib.Path]:
  """A folder that gets the name `directory` only when all went well."""
  with atomic.new_folder(directory) as partial:
    try:
      partial.mkdir()
      yield partial
    except BaseException as e:
      free = shutil.disk_usage(directory.parent).free
      if not _is_disk_full(e):
        raise
      raise OSError(
        errno.ENOSPC,
        f"the disk is full: the data set needs up to {needed / 1e6:,.1f} MB,"
        f" {free / 1e6:,.1f} MB were left. What was written is removed; free"
        " some space or choose another --workdir",
        str(directory),
      ) from e


def _is_disk_full(error: BaseException) -> bool:
  if isinstance(error, OSError):
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
  # The ArrayRecord writer has its own exceptions, with the system's text.
  return os.strerror(errno.ENOSPC) in str(error)


def _bytes_needed(sequences: encoding.Sequences) -> int:
  """Upper estimate of the bytes on disk, before compression."""
  num_users, num_events = len(sequences.user_ids), int(sequences.offsets[-1])
  histories = num_events * 4 * len(sequences.fields) + 40 * num_users
  tables = sequences.items.estimated_size() + 40 * num_users
  if sequences.users is not None:
    tables += sequences.users.estimated_size()
  return int(histories + tables + 65536)


def _shards(sequences: encoding.Sequences) -> list[tuple[int, int]]:
  """User ranges of about equal size, one per file."""
  offsets = sequences.offsets
  total = int(offsets[-1]) * 4 * len(sequences.fields)
  count = min(-(-total // _SHARD_BYTES), len(offsets) - 1)
  goals = np.linspace(0, offsets[-1], count + 1)[1:-1]
  cuts = [0, *np.searchsorted(offsets, goals).tolist(), len(offsets) - 1]
  cuts = sorted(set(cuts))
  return list(zip(cuts[:-1], cuts[1:], strict=True))


def _write_histories(
  sequences: encoding.Sequences,
  manifest: schema.Manifest,
  shards: list[tuple[int, int]],
  directory: pathlib.Path,
) -> Int[np.ndarray, "U"]:
  """Writes all records; returns the end of each user's training part."""
  codec, split = schema.Codec(manifest.fields), splits.load(manifest.split)
  train_end = np.zeros(manifest.num_users, np.int64)
  with tqdm(
    total=manifest.num_users, desc="write", unit=" users", delay=2
  ) as bar:
    for number, (start, end) in enumerate(shards):
      path = directory / shard_name(number, len(shards))
      # One record per chunk: users are read in random order.
      writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
      try:
        for user in range(start, end):
          record = sequences.record(user)
          train_end[user] = split.train_end(record)
          writer.write(codec.encode(record))
          if user % 4096 == 4095:
            bar.update(4096)
      finally:
        writer.close()
    bar.update(manifest.num_users - bar.n)
  return train_end


def _write_tables(
  sequences: encoding.Sequences,
  train_end: Int[np.ndarray, "U"],
  directory: pathlib.Path,
) -> None:
  offsets, item = sequences.offsets, sequences.fields["item"]
  lengths = np.diff(offsets)
  position = np.arange(len(item)) - np.repeat(offsets[:-1], lengths)
  trains = position < np.repeat(train_end, lengths)
  count = np.bincount(item[trains], minlength=len(sequences.items) + 1)[1:]
  index = np.arange(1, len(sequences.items) + 1, dtype=np.int32)
  attributes = sequences.items.drop("item_id", "title")
  sequences.items.select(
    pl.Series("index", index),
    "item_id",
    "title",
    pl.Series("count", count.astype(np.int64)),
    *attributes.columns,
  ).write_parquet(directory / "catalog.parquet")
  users = pl.DataFrame(
    {
      "user": np.arange(len(lengths), dtype=np.int32),
      "user_id": pl.Series(sequences.user_ids, dtype=pl.String),
      "events": lengths.astype(np.int32),
    }
  )
  if sequences.users is not None:
    users = users.hstack(sequences.users.drop("user_id"))
  users.write_parquet(directory / "users.parquet")
