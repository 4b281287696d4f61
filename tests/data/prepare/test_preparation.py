# SPDX-License-Identifier: Apache-2.0
"""A prepared data set is whole, or it is not there."""

import dataclasses
import errno
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import polars as pl
import pytest

from configs.common import filter_options
from genrec_jax.data import GlobalTime, LeaveOneOut, RawLog
from genrec_jax.data.dataset import Catalog, Histories, Users
from genrec_jax.data.prepare import (
  encode,
  preparation as sequences_lib,
  prepare,
)


@dataclasses.dataclass(frozen=True)
class Generated:
  """A source of random events, two actions, values and requests."""

  num_events: int = 2_000
  seed: int = 0

  def read(self) -> RawLog:
    rng = np.random.default_rng(self.seed)
    events = pl.DataFrame(
      {
        "user": rng.integers(0, 60, self.num_events),
        "item": rng.integers(0, 90, self.num_events),
        "timestamp": rng.integers(10**9, 10**9 + 10**6, self.num_events),
        "action": rng.choice(["view", "buy"], self.num_events),
        "value": rng.random(self.num_events),
        "request": rng.integers(0, 5, self.num_events),
      }
    )
    return RawLog(events=events, extras={"truth.npz": b"what is true"})


def _names(path: pathlib.Path) -> list[str]:
  return sorted(p.name for p in path.iterdir())


@pytest.mark.parametrize("split", [LeaveOneOut(), GlobalTime()])
def test_what_is_prepared_is_what_was_encoded(tmp_path, split):
  manifest = prepare(Generated(), split, tmp_path / "data", min_item_events=5)
  assert _names(tmp_path) == ["data"]
  assert _names(tmp_path / "data") == [
    "catalog.parquet",
    "histories-00000-of-00001.array_record",
    "manifest.json",
    "truth.npz",
    "users.parquet",
  ]
  histories = Histories(tmp_path / "data")
  assert histories.manifest == manifest
  assert (tmp_path / "data" / "truth.npz").read_bytes() == b"what is true"
  expected = encode(Generated().read(), min_item_events=5)
  users = Users(tmp_path / "data")
  assert len(histories) == manifest.num_users == users.num_users
  for user in range(len(histories)):
    record, wanted = histories[user], expected.record(user)
    assert record.keys() == wanted.keys()
    for name, array in wanted.items():
      np.testing.assert_array_equal(record[name], array)
      assert record[name].dtype == array.dtype
    assert users.ids[user] == expected.user_ids[user]
    assert users.events[user] == len(record["item"])


@pytest.mark.parametrize("split", [LeaveOneOut(), GlobalTime()])
def test_the_catalogue_counts_training_events_only(tmp_path, split):
  prepare(Generated(), split, tmp_path / "data")
  histories, catalog = Histories(tmp_path / "data"), Catalog(tmp_path / "data")
  trained = np.zeros(catalog.num_items + 1, np.int64)
  held_out = 0
  for user in range(len(histories)):
    record = histories[user]
    end = histories.split.train_end(record)
    np.add.at(trained, record["item"][:end], 1)
    held_out += len(record["item"]) - end
  np.testing.assert_array_equal(catalog.count, trained)
  assert held_out > 0


def test_many_shards_hold_the_same_records(tmp_path, monkeypatch):
  prepare(Generated(), LeaveOneOut(), tmp_path / "one")
  monkeypatch.setattr(sequences_lib, "_SHARD_BYTES", 3_000)
  manifest = prepare(Generated(), LeaveOneOut(), tmp_path / "many")
  assert manifest.num_shards > 5
  one, many = Histories(tmp_path / "one"), Histories(tmp_path / "many")
  assert len(one) == len(many)
  for user in range(len(one)):
    assert many[user]["user"] == user
    np.testing.assert_array_equal(one[user]["item"], many[user]["item"])


def test_preparing_again_changes_nothing(tmp_path):
  first = prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  before = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()}
  assert prepare(Generated(), LeaveOneOut(), tmp_path / "data") == first
  after = {p: p.stat().st_mtime_ns for p in (tmp_path / "data").iterdir()}
  assert before == after


def test_the_same_input_gives_the_same_bytes(tmp_path):
  for name in ("a", "b"):
    prepare(Generated(), LeaveOneOut(), tmp_path / name)
  for name in _names(tmp_path / "a"):
    a, b = ((tmp_path / d / name).read_bytes() for d in ("a", "b"))
    assert a == b, name


def test_a_data_set_of_another_configuration_is_named(tmp_path):
  prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  with pytest.raises(ValueError, match="source.seed: 0 there, 1 wanted"):
    prepare(Generated(seed=1), LeaveOneOut(), tmp_path / "data")
  with pytest.raises(
    ValueError, match="filter.min_user_events: 1 there, 5 wanted.*--workdir"
  ):
    prepare(Generated(), LeaveOneOut(), tmp_path / "data", min_user_events=5)
  with pytest.raises(ValueError, match="split.name"):
    prepare(Generated(), GlobalTime(), tmp_path / "data")
  # An option at its default is the same as one that is not given.
  prepare(Generated(), LeaveOneOut(), tmp_path / "data", min_user_events=1)


def test_an_unknown_option_names_the_choices(tmp_path):
  with pytest.raises(ValueError, match="min_user; .*min_user_events"):
    prepare(Generated(), LeaveOneOut(), tmp_path / "data", min_user=5)


def test_a_folder_without_a_manifest_is_not_overwritten(tmp_path):
  (tmp_path / "data").mkdir()
  (tmp_path / "data" / "thesis.tex").write_text("years of work")
  with pytest.raises(ValueError, match="manifest.json.*is missing"):
    prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  assert _names(tmp_path / "data") == ["thesis.tex"]


def test_another_process_that_was_faster_wins(tmp_path, monkeypatch):
  rename = os.rename

  def slow_rename(source, target):
    monkeypatch.setattr(os, "rename", rename)
    prepare(Generated(), LeaveOneOut(), tmp_path / "data")
    rename(source, target)

  monkeypatch.setattr(os, "rename", slow_rename)
  manifest = prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  assert Histories(tmp_path / "data").manifest == manifest
  assert _names(tmp_path) == ["data"]


class _FullDisk:
  """An ArrayRecord writer that fails like the real one on a full disk."""

  def __init__(self, path, options):
    del options
    self._path = pathlib.Path(path)

  def write(self, data):
    self._path.write_bytes(data)
    raise RuntimeError(f"write() failed: {os.strerror(errno.ENOSPC)}")

  def close(self):
    pass


def _refuse(*_, **__):
  raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["histories", "tables", "extras", "manifest"])
def test_a_full_disk_leaves_nothing_and_says_how_much_is_needed(
  tmp_path, monkeypatch, what
):
  if what == "histories":
    module = sequences_lib.array_record_module
    monkeypatch.setattr(module, "ArrayRecordWriter", _FullDisk)
  elif what == "tables":
    monkeypatch.setattr(pl.DataFrame, "write_parquet", _refuse)
  elif what == "extras":
    monkeypatch.setattr(pathlib.Path, "write_bytes", _refuse)
  else:
    monkeypatch.setattr(pathlib.Path, "write_text", _refuse)
  with pytest.raises(OSError, match=r"needs up to 0.1 MB, [\d.,]+ MB") as e:
    prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  assert e.value.errno == errno.ENOSPC
  assert _names(tmp_path) == []


def test_any_other_failure_leaves_nothing_either(tmp_path, monkeypatch):
  def interrupt(*_, **__):
    raise KeyboardInterrupt

  monkeypatch.setattr(sequences_lib, "_write_tables", interrupt)
  with pytest.raises(KeyboardInterrupt):
    prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  assert _names(tmp_path) == []


@pytest.mark.slow
def test_a_process_killed_while_writing_leaves_no_data_set(tmp_path):
  code = f"""
    import os, signal, sys
    sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
    from test_preparation import Generated
    from genrec_jax.data import LeaveOneOut
    from genrec_jax.data.prepare import prepare
    from genrec_jax.data.prepare import preparation as sequences
    def die(*_):
      os.kill(os.getpid(), signal.SIGKILL)
    sequences._write_tables = die
    prepare(Generated(), LeaveOneOut(), {str(tmp_path / "data")!r})
  """
  process = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code)], capture_output=True
  )
  assert process.returncode == -9, process.stderr.decode()
  (left,) = _names(tmp_path)
  assert left.startswith("data.tmp-")
  with pytest.raises(ValueError, match="no prepared data set"):
    Histories(tmp_path / "data")
  # The next attempt does not stumble over it.
  prepare(Generated(), LeaveOneOut(), tmp_path / "data")
  Histories(tmp_path / "data")


@pytest.mark.slow
def test_twenty_million_events_prepare_in_six_gigabytes(tmp_path):
  """By a fifth of them in a fifth of it: memory grows no faster than events."""
  code = f"""
    import re
    import numpy as np, polars as pl
    from genrec_jax.data.sources import Files
    from genrec_jax.data import LeaveOneOut
    from genrec_jax.data.prepare import prepare
    import sys
    def peak():
      # Of this program alone; getrusage begins with that of its parent.
      status = open("/proc/self/status").read()
      return re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]
    before = peak()
    rng, n, path = np.random.default_rng(0), 2_000_000, sys.argv[1]
    with open(path, "wb") as file:
      for part in range(2):
        frame = pl.DataFrame({{
          "user": rng.integers(0, 100_000, n),
          "item": rng.zipf(1.2, n) % 40_000,
          "timestamp": rng.integers(1_500_000_000_000, 1_600_000_000_000, n),
          "action": rng.integers(0, 3, n),
          "value": rng.random(n, np.float32),
        }}).with_columns(
          pl.format("user-{{}}@example", "user").alias("user"),
          pl.format("sku{{}}", "item").alias("item"),
        )
        frame.write_csv(file, include_header=part == 0)
    del frame
    manifest = prepare(
      Files(path, action="action", value="value"),
      LeaveOneOut(), {str(tmp_path / "data")!r},
      min_user_events=5, min_item_events=5,
    )
    assert manifest.counts["in"] == 4_000_000, manifest.counts
    print(before, peak())
  """
  process = subprocess.run(
    [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "log.csv")],
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert process.returncode == 0, process.stderr
  before, peak = (int(x) / 1e6 for x in process.stdout.split()[-2:])
  assert before + 5 * (peak - before) < 6, (before, peak)


def test_options_spelled_out_at_their_defaults_are_the_same_data_set(tmp_path):
  few = prepare(Generated(), GlobalTime(), tmp_path / "data", deduplicate=False)
  again = prepare(
    Generated(),
    GlobalTime(0.1, 0.1, None, None),
    tmp_path / "data",
    deduplicate=False,
    **{k: v for k, v in filter_options().items() if k != "deduplicate"},
  )
  assert again.fingerprint == few.fingerprint
  with pytest.raises(ValueError, match="filter.deduplicate: False there, True"):
    prepare(Generated(), GlobalTime(), tmp_path / "data", **filter_options())


@dataclasses.dataclass(frozen=True)
class Gaps:
  """One user whose last event comes `last_gap` seconds after the others."""

  last_gap: int

  def read(self) -> RawLog:
    times = np.array([0, 10, 30, 60, 60 + self.last_gap]) + 10**9
    return RawLog(
      events=pl.DataFrame(
        {"user": ["u"] * 5, "item": list("abcde"), "timestamp": times}
      )
    )


def test_the_median_gap_knows_nothing_of_test_events(tmp_path):
  gaps = {
    last: prepare(
      Gaps(last), LeaveOneOut(), tmp_path / str(last)
    ).median_gap_seconds
    for last in (1, 100_000)
  }
  # The training part is 0, 10, 30: gaps of 10 and 20.
  assert gaps == {1: 15, 100_000: 15}
  assert Histories(tmp_path / "1").manifest.median_gap_seconds == 15
