# SPDX-License-Identifier: Apache-2.0
"""Users per second of lists for everyone, by whole processes.

    ours    genrec recommend --all-users --notitles, from start to exit
    peer    another program that writes the same lists, in turns with ours

A whole process imports, reads, compiles, searches and writes. What compilation
costs is gone on a second start where JAX_COMPILATION_CACHE_DIR names a folder.
`write_events` gives another program the events of a prepared data set, and says
which of them an evaluation withholds.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import polars as pl

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories

_PARTS = ("validation", "test")


def write_events(
  histories: Histories, path: str | os.PathLike
) -> dict[str, int]:
  """Writes user_id, item_id, time and part of every event, user by user.

  Args:
    histories: a prepared data set.
    path: of a Parquet file. time is unix seconds, or the place in the history
      where there are no times; part is train, validation or test.

  Returns:
    How many users and events there are.
  """
  catalog, users = Catalog(histories.directory), Users(histories.directory)
  parts = []
  for record in histories.many(range(len(histories))):
    items = record["item"]
    time_of = np.arange(len(items))
    if "time" in record:
      time_of = record["time"] + np.int64(histories.manifest.epoch_seconds)
    part = np.zeros(len(items), np.uint32)
    for number, name in enumerate(_PARTS, start=1):
      part[histories.split.targets(record, name)] = number
    parts.append((np.full(len(items), record["user"]), items, time_of, part))
  user, item, times, part = map(np.concatenate, zip(*parts, strict=True))
  names = pl.Series(["train", *_PARTS])
  table = pl.DataFrame(
    {
      "user_id": users.id_column.gather(user),
      "item_id": catalog.id_column.gather(item),
      "time": times.astype(np.int64),
      "part": names.gather(part),
    }
  )
  table.write_parquet(path)
  return {"users": len(histories), "events": len(table)}


def time_recommend(
  workdir: str | os.PathLike,
  *,
  k: int,
  pairs: int,
  peer: Sequence[str] | None = None,
) -> dict[str, Any]:
  """Seconds, users per second and peak memory of whole processes.

  Args:
    workdir: of a trained run.
    k: places of a list.
    pairs: processes of each, in turns.
    peer: another program, which is given --events=FILE --k=K --output=FILE.

  Raises:
    ValueError: a process that failed; what it wrote stands above.
  """
  histories = Histories(pathlib.Path(workdir) / "data")
  seconds: dict[str, list[float]] = {}
  peaks: dict[str, list[int]] = {}
  with tempfile.TemporaryDirectory() as folder:
    events = f"{folder}/events.parquet"
    commands = {
      "ours": [
        *(sys.executable, "-m", "genrec_jax.cli", "recommend", "--all-users"),
        *(f"--workdir={workdir}", f"--k={k}", "--notitles"),
        f"--output={folder}/ours.parquet",
      ]
    }
    if peer:
      write_events(histories, events)
      outputs = [f"--k={k}", f"--output={folder}/peer.parquet"]
      commands["peer"] = [*peer, f"--events={events}", *outputs]
    for _ in range(pairs):
      for name, command in commands.items():
        took, peak = _process(command)
        seconds.setdefault(name, []).append(took)
        peaks.setdefault(name, []).append(peak)
  return _figures(seconds, peaks, len(histories)) | {"k": k, "pairs": pairs}


def _process(command: Sequence[str]) -> tuple[float, int]:
  """Seconds from start to exit, and the peak of its memory in MB."""
  started = time.perf_counter()
  process = subprocess.Popen(command, stdout=sys.stderr)
  _, status, usage = os.wait4(process.pid, 0)
  took = time.perf_counter() - started
  process.returncode = os.waitstatus_to_exitcode(status)
  if process.returncode:
    raise ValueError(
      f"{' '.join(command)} ended with {process.returncode};"
      " what it wrote stands above."
    )
  return took, round(usage.ru_maxrss / 1e3)


def _figures(
  seconds: Mapping[str, Sequence[float]],
  peaks: Mapping[str, Sequence[int]],
  users: int,
) -> dict[str, Any]:
  """Medians of each, and the ratio of the medians."""
  found: dict[str, Any] = {"users": users}
  for name, values in seconds.items():
    median = statistics.median(values)
    found[name] = {
      "seconds": [round(value, 2) for value in values],
      "users_per_second": round(users / median, 1),
      "peak_mb": max(peaks[name]),
    }
  if "peer" in seconds:
    ours, peer = (statistics.median(seconds[n]) for n in ("ours", "peer"))
    found["times_peer"] = round(peer / ours, 3)
  return found
