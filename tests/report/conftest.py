# SPDX-License-Identifier: Apache-2.0
"""Made-up finished runs, with round figures that a reader can check."""

import dataclasses
import json

import pytest

from genrec_jax.report.runs import RetrievalRun

KS = (1, 5, 10, 50, 200)


def metrics_at(hr_at_10: float) -> dict[str, float]:
  """Plausible values at every K, proportional to HR@10; all below 1."""
  values = {}
  for k in KS:
    hr = min(hr_at_10 * (k / 10) ** 0.4, 0.99)
    values |= {f"hr@{k}": hr, f"ndcg@{k}": hr / 2, f"mrr@{k}": hr / 3}
  return values


@pytest.fixture
def make_run():
  def make(hr_at_10: float = 0.20, **changes) -> RetrievalRun:
    test = metrics_at(hr_at_10)
    run = RetrievalRun(
      config="hstu_synthetic",
      title="HSTU",
      system="HSTU",
      dataset="synthetic",
      seed=0,
      commit="0123456789abcdef",
      dirty=False,
      date="2026-01-02T03:04:05",
      device="cpu x 1",
      train_seconds=125.0,
      checkpoint="best",
      step=400,
      parameters=1234,
      sort_rule="stable by (time, order in file)",
      split_rule="leave-one-out",
      num_users=1000,
      num_items=500,
      metrics={"test": test, "validation": test, "test_last_time": test},
      intervals={"test": {m: [v - 0.01, v + 0.01] for m, v in test.items()}},
      baselines={
        name: {"test": metrics_at(hr), "validation": metrics_at(hr)}
        for name, hr in (
          ("item_knn", 0.10),
          ("most_popular", 0.02),
          ("oracle", 0.25),
        )
      },
      versus={"item_knn": {"test": {"ndcg@10": [0.05, 0.04, 0.06]}}},
      slices={"test": {}},
      notes=["item-kNN tuned on validation"],
      config_values={"seed": 0},
    )
    return dataclasses.replace(run, **changes)

  return make


@pytest.fixture
def write_runs(tmp_path):
  """Writes runs as results/<config>/<seed>.json and returns the folder."""

  def write(*runs: RetrievalRun):
    folder = tmp_path / "results"
    for run in runs:
      path = folder / run.config / f"{run.seed}.json"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(json.dumps(dataclasses.asdict(run)))
    return folder

  return write
