# SPDX-License-Identifier: Apache-2.0
"""The tables of rankers: every task, baseline and config, none hidden."""

import dataclasses
import json

import pytest

from genrec_jax.report import tables
from genrec_jax.report.ranking.runs import RankerRun, read_ranker_runs
from genrec_jax.report.ranking.tables import ranker_tables
from genrec_jax.report.runs import read_runs


def _metrics(auc, one_class=0.25):
  return {
    "auc": auc,
    "gauc": 0.6,
    "ne": 0.9,
    "one_class_impressions": one_class,
  }


def _run(config="din_kuairand", auc=0.7, like=0.8, **changes):
  test = {"click": _metrics(auc), "like": _metrics(like)}
  run = RankerRun(
    config=config,
    title="DIN",
    system="FeatureRanker",
    dataset="kuairand",
    seed=0,
    commit="0123456789abcdef",
    dirty=False,
    date="2026-01-02T03:04:05",
    device="cpu x 1",
    train_seconds=90.0,
    checkpoint="best",
    step=400,
    parameters=1234,
    sort_rule="stable by (time, order in file)",
    split_rule="GlobalTime",
    num_users=1000,
    num_items=500,
    notes=[],
    config_values={"seed": 0},
    tasks=["click", "like"],
    num_impressions={"test": 2000, "validation": 1000},
    evaluate_seconds={"test": 4.0, "validation": 2.0},
    flops_per_impression={"test": 2.5e6, "validation": 2.5e6},
    metrics={"test": test, "validation": test},
    frozen={},
    intervals={"test": {"click": {"auc": [auc - 0.01, auc + 0.01]}}},
    baselines={
      "base_rate": {"test": {t: _metrics(0.5) for t in ("click", "like")}}
    },
  )
  return dataclasses.replace(run, **changes)


def _lines(markdown):
  return [
    [c.strip() for c in text.split("|")[1:-1]]
    for text in markdown.splitlines()
    if text.startswith("|")
  ]


def test_a_table_per_task_baselines_first_then_by_auc():
  runs = [_run("b", 0.72), _run("a", 0.71), _run("a", 0.73, seed=1)]
  heading, legend, click, like, _ = ranker_tables(runs)
  assert "[95 % t interval over seeds" in legend
  assert "2,000 test impressions" in heading
  rows = _lines(click)
  assert len({len(row) for row in rows}) == 1
  assert [row[0] for row in rows[2:]] == [
    "base rate",
    "**DIN** `b`",
    "**DIN** `a`",
  ]
  assert rows[3][1] == "0.7200 (0.710-0.730)" and rows[3][5] == "seed 0"
  # Two seeds .02 apart: 12.706 standard errors of .01 to either side.
  assert rows[4][1] == "0.7200 [0.5929, 0.8471]" and rows[4][5] == "seed 0, 1"
  assert _lines(like)[0][0] == "**like**"


def test_gauc_behind_frozen_histories_has_a_column():
  tasks = {t: _metrics(0.7) | {"gauc": 0.65} for t in ("click", "like")}
  runs = [_run("a", frozen={"test": tasks}), _run("b")]
  _, _, click, *_ = ranker_tables(runs)
  head, _, baseline, *rows = _lines(click)
  assert head[3] == "GAUC, frozen"
  assert [r[3] for r in rows] == ["0.6500", "-"]
  # A baseline reads no history: both are one.
  assert baseline[3] == baseline[2]


def test_the_share_of_impressions_that_gauc_is_of_stands_beside_it():
  test = {"click": _metrics(0.7, 0.376), "like": _metrics(0.8, 0.946)}
  runs = [_run(c, metrics={"test": test}) for c in ("a", "b")]
  _, legend, click, like, _ = ranker_tables(runs)
  assert _lines(click)[0][2] == "GAUC (62.4 % of impressions)"
  assert _lines(like)[0][2] == "GAUC (5.4 % of impressions)"
  assert "which share of the impressions" in legend
  # Runs of one table are on one test part: another share is another one.
  with pytest.raises(ValueError, match=r"click .*, a/0 62.4 %, c/0 75.0 %"):
    ranker_tables([*runs[:1], _run("c")])


def test_what_is_not_defined_in_a_seed_is_not_averaged():
  runs = [_run(like=0.8), _run(like=None, seed=1)]
  like = _lines(ranker_tables(runs)[3])
  assert like[-1][:3] == ["**DIN** `din_kuairand`", "-", "0.6000"]


def test_what_rankers_cost():
  runs = [_run(), _run(seed=1, train_seconds=150.0)]
  row = _lines(ranker_tables(runs)[-1])[-1]
  label, *costs = row
  assert label == "**DIN** `din_kuairand`"
  assert costs == ["1,234", "2.5 million", "500", "2.0 min"]


def test_both_kinds_of_runs_are_told_apart(tmp_path, make_run):
  for run in (_run(), make_run()):
    path = tmp_path / run.config / "0.json"
    path.parent.mkdir()
    path.write_text(json.dumps(dataclasses.asdict(run)))
  (ranker,), (searcher,) = read_ranker_runs(tmp_path), read_runs(tmp_path)
  assert (ranker.config, searcher.config) == ("din_kuairand", "hstu_synthetic")
  body = tables.results_markdown([searcher], [ranker])
  assert "### Ranking: KuaiRand-Pure: 1,000 users" in body
  # Both kinds say how they were made.
  made = body[body.index("### How they were made") :]
  assert "configs/din_kuairand.py" in made and "hstu_synthetic" in made


def test_a_system_that_does_both_has_rows_in_both(tmp_path, make_run):
  searcher, ranker = make_run(), _run()
  own = {f.name for f in dataclasses.fields(searcher)}
  shown = dataclasses.asdict(ranker)
  ranking = {k: v for k, v in shown.items() if k not in own}
  own = ("metrics", "intervals", "baselines", "notes")
  ranking |= {k: shown[k] for k in own}
  path = tmp_path / "both" / "0.json"
  path.parent.mkdir()
  path.write_text(
    json.dumps({**dataclasses.asdict(searcher), "ranking": ranking})
  )
  (one,), (other,) = read_ranker_runs(tmp_path), read_runs(tmp_path)
  assert one.metrics == ranker.metrics and other.metrics == searcher.metrics
  body = tables.results_markdown([other], [one])
  # Once as it searches; of two tasks, and what it costs.
  assert body.count("`hstu_synthetic`") == 1 + 3
  assert body.count("--config=configs/hstu_synthetic.py") == 1


def test_a_result_that_lacks_a_part_is_named(tmp_path):
  values = dataclasses.asdict(_run())
  del values["baselines"]
  (tmp_path / "x").mkdir()
  (tmp_path / "x" / "0.json").write_text(json.dumps(values))
  with pytest.raises(ValueError, match="0.json lacks baselines"):
    read_ranker_runs(tmp_path)
