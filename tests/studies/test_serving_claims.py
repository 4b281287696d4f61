# SPDX-License-Identifier: Apache-2.0
"""What the study makes of lengths, of costs, and of a bench's figures."""

import json

import numpy as np
import polars as pl
import pytest

from studies import history_costs, serving_claims
from studies.event_log import Log
from tests.service.fakes import STORED


def test_memory_holds_where_lengths_differ():
  ragged = {"a": np.array([3, 50, 200, 9])}
  assert serving_claims.memory_claim(ragged, 200)["verdict"] == "holds"
  # Of histories that all fill the window nothing is saved.
  full = {"a": np.array([10, 10])}
  assert serving_claims.memory_claim(full, 10)["verdict"] == "does not hold"


def test_hits_of_a_prepared_data_set():
  log = Log.of(str(STORED / "data"))
  found = serving_claims.hit_claim({"stored": log}, 50, requests=2000)
  mine = found["data"]["stored"]
  assert set(mine) == {"zipf 1.0", "zipf 0.8", "zipf 0.6", "events", "visits"}
  count = len(log.user_E)
  assert mine["events"]["requests"] == count > mine["visits"]["requests"]


def test_a_table_is_a_log(tmp_path):
  table = pl.DataFrame(
    {"user_id": ["b", "a", "b", "b"], "timestamp": [5, 7, 3, 9]}
  )
  log = Log.of_table(table)
  assert log.user_E.tolist() == [0, 1, 1, 1]
  assert log.time_E.tolist() == [7, 3, 5, 9]
  assert log.length_U.tolist() == [1, 3]
  table.drop("timestamp").write_parquet(tmp_path / "log.parquet")
  log = Log.of(str(tmp_path / "log.parquet"))
  assert log.time_E is None and log.length_U.tolist() == [1, 3]
  with pytest.raises(ValueError, match="no column user_id"):
    Log.of_table(table.drop("user_id"))


def test_what_a_bench_says():
  def row(path, batch, cache_mb, rate, p50=10.0, model=2.0):
    return {
      **{"path": path, "batch": batch, "cache_mb": cache_mb},
      "rate_within_limit": rate,
      "loads": [{"latency_ms": {"p50": p50}, "model_ms": model}],
    }

  rows = [
    *(row("engine", 1, 0, 10.0), row("engine", 16, 0, 25.0)),
    *(row("http", 1, 0, 10.0), row("http", 16, 0, 30.0, model=8.0)),
    row("http", 16, 512.0, None),
  ]
  found = serving_claims.bench_claims([{"config": "c", "rows": rows}])
  assert found["2 batches"]["verdict"] == "holds"
  assert found["2 batches"]["times"] == {"c engine": 2.5, "c http": 3.0}
  assert found["6 host"] == {
    "verdict": "does not hold",
    "share_of_latency": {
      "c batches of 1, none": 0.8,
      "c batches of 16, none": 0.2,
      "c batches of 16, cache": 0.8,
    },
  }
  rows[1] = row("engine", 16, 0, None)
  found = serving_claims.bench_claims([{"config": "c", "rows": rows}])
  assert found["2 batches"]["verdict"] == "does not hold"
  # Of bench.py serving --nohttp.
  found = serving_claims.bench_claims([{"config": "c", "rows": rows[:2]}])
  assert found["6 host"]["verdict"].startswith("not measured")


def test_files_of_a_bench(tmp_path):
  path = tmp_path / "log"
  path.write_text('a table\n{"bench": "serving", "rows": []}\n{"bench": "x"}\n')
  assert serving_claims._bench_results([path]) == [
    {"bench": "serving", "rows": []}
  ]
  path.write_text(json.dumps({"bench": "candidates"}))
  with pytest.raises(ValueError, match="no JSON line"):
    serving_claims._bench_results([path])
  with pytest.raises(ValueError, match="NAME=PATH"):
    serving_claims._named(["runs/a"])


def test_lists_and_types():
  one = np.array([[1, 2, 3], [4, 5, 6]])
  other = np.array([[1, 3, 9], [6, 5, 4]])
  overlap, same = serving_claims.list_overlap(one, other)
  assert overlap == pytest.approx((2 / 3 + 1) / 2, abs=1e-4) and same == 0.5
  node = {"dtype": "float32", "backbone": {"dtype": "float32", "n": 1}}
  assert serving_claims.in_dtype(node, "x") == {
    "dtype": "x",
    "backbone": {"dtype": "x", "n": 1},
  }


@pytest.mark.slow
def test_a_cache_saves_more_of_what_was_read_and_less_of_many_candidates():
  found = serving_claims.cost_claim(
    32, (0, 16, 31), (1, 32), width=16, layers=2
  )
  assert found["verdict"] == "holds"
  by = {(r["read"], r["candidates"]): r for r in found["rows"]}
  assert by[0, 1]["times_fewer"] == 1.0
  # At most by all 33 tokens to the two that are left; attention is over all
  # keys either way.
  assert 2 < by[31, 1]["times_fewer"] < 33
  whole = history_costs.speed_ups(32, (0,), (1,), width=16, layers=1)
  assert whole[0]["flops"] < by[0, 1]["flops"]
