# SPDX-License-Identifier: Apache-2.0
"""Whole processes in turns, and the events that another program gets."""

import sys

import polars as pl
import pytest

from genrec_jax.bench import recommend
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.data.schema import RawLog


class _Log:
  """Two users, whose events come in no order."""

  def read(self) -> RawLog:
    return RawLog(
      events=pl.DataFrame(
        {
          "user": ["ann", "bob", "ann", "ann", "ann", "bob"],
          "item": ["tea", "jam", "jam", "oat", "rye", "tea"],
          "timestamp": [30, 20, 10, 40, 50, 90],
        }
      )
    )


def test_events_have_ids_times_and_what_is_withheld(tmp_path):
  prepare(_Log(), LeaveOneOut(), tmp_path / "data")
  path = tmp_path / "events.parquet"
  histories = Histories(tmp_path / "data")
  found = recommend.write_events(histories, path)
  assert found == {"users": 2, "events": 6}
  rows = pl.read_parquet(path).rows()
  assert [row for row in rows if row[0] == "ann"] == [
    ("ann", "jam", 10, "train"),
    ("ann", "tea", 30, "train"),
    ("ann", "oat", 40, "validation"),
    ("ann", "rye", 50, "test"),
  ]
  # Too few events to withhold any.
  assert [row for row in rows if row[0] == "bob"] == [
    ("bob", "jam", 20, "train"),
    ("bob", "tea", 90, "train"),
  ]


def test_a_ratio_is_one_of_medians():
  seconds = {"ours": [2.0, 9.0, 1.0], "peer": [4.0, 3.0, 50.0]}
  figures = recommend._figures(seconds, {"ours": [5, 7], "peer": [9]}, 20)
  assert figures["times_peer"] == 2.0
  assert figures["ours"]["users_per_second"] == 10.0
  assert figures["ours"]["peak_mb"] == 7


def test_a_process_is_timed_and_its_failure_is_named():
  code = "import time; x = bytearray(50_000_000); time.sleep(0.2)"
  took, peak = recommend._process([sys.executable, "-c", code])
  assert took >= 0.2 and peak >= 50
  with pytest.raises(ValueError, match="ended with 3; what it wrote"):
    recommend._process([sys.executable, "-c", "raise SystemExit(3)"])
