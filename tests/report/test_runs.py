# SPDX-License-Identifier: Apache-2.0
"""Reading results, and the arithmetic that turns them into one sentence."""

import json

import pytest

from genrec_jax.report import runs as runs_lib


def test_runs_come_back_as_they_were_written(make_run, write_runs):
  first, second = make_run(), make_run(0.3, seed=1)
  assert runs_lib.read_runs(write_runs(second, first)) == [first, second]


def test_a_result_without_a_key_is_named_with_the_key(make_run, write_runs):
  path = write_runs(make_run()) / "hstu_synthetic" / "0.json"
  values = json.loads(path.read_text())
  del values["commit"], values["baselines"]
  path.write_text(json.dumps(values))
  with pytest.raises(ValueError, match=r"0\.json lacks baselines, commit"):
    runs_lib.read_runs(path.parents[1])


def test_a_damaged_result_is_named(make_run, write_runs):
  path = write_runs(make_run()) / "hstu_synthetic" / "0.json"
  path.write_text(path.read_text()[:40])
  with pytest.raises(ValueError, match=r"0\.json is damaged"):
    runs_lib.read_runs(path.parents[1])


def test_several_seeds_have_a_t_interval_and_one_has_none():
  summary = runs_lib.Summary.of([0.1, 0.2, 0.3])
  assert summary.mean == pytest.approx(0.2)
  # Of three, t is 4.303; the standard deviation is .1.
  half = 4.302653 * 0.1 / 3**0.5
  assert summary.interval == pytest.approx((0.2 - half, 0.2 + half))
  assert runs_lib.Summary.of([0.1]).interval is None


def test_runs_of_another_split_are_another_table(make_run):
  groups = runs_lib.by_dataset(
    [make_run(), make_run(seed=1), make_run(split_rule="global time")]
  )
  assert sorted(len(group) for group in groups.values()) == [1, 2]


def test_best_baseline_leaves_the_oracle_out(make_run):
  name, value = runs_lib.best_baseline(make_run(), "hr@10")
  assert (name, value) == ("item_knn", pytest.approx(0.10))
  with pytest.raises(ValueError, match="no baseline"):
    runs_lib.best_baseline(make_run(baselines={}), "hr@10")


@pytest.mark.parametrize(
  ("hr", "share"), [(0.10, 0.0), (0.25, 1.0), (0.175, 0.5), (0.04, -0.4)]
)
def test_gap_closed_runs_from_baseline_to_oracle(make_run, hr, share):
  assert runs_lib.gap_closed(make_run(hr), "hr@10") == pytest.approx(share)


def test_gap_closed_needs_an_oracle(make_run):
  baselines = {"item_knn": {"test": {"hr@10": 0.1, "ndcg@10": 0.05}}}
  assert runs_lib.gap_closed(make_run(baselines=baselines), "hr@10") is None


def test_baselines_stand_from_worst_to_best_and_the_oracle_last(make_run):
  assert list(runs_lib.baseline_summaries([make_run()])) == [
    "most_popular",
    "item_knn",
    "oracle",
  ]


def test_baselines_that_disagree_show_an_interval(make_run):
  other = {"item_knn": {"test": {"hr@10": 0.2, "ndcg@10": 0.1}}}
  found = runs_lib.baseline_summaries([make_run(), make_run(baselines=other)])
  low, high = found["item_knn"]["hr@10"].interval
  assert high - low > 0.1


def test_a_run_of_fewer_cut_offs_hides_no_figure_of_a_baseline(make_run):
  full = make_run()
  fewer = make_run(baselines={"item_knn": {"test": {"ndcg@10": 0.1}}})
  found = runs_lib.baseline_summaries([full, fewer])["item_knn"]
  assert found["hr@10"].count == 1 and found["ndcg@10"].count == 2
  assert found["hr@10"].mean == full.baselines["item_knn"]["test"]["hr@10"]


def test_results_of_systems_that_score_shown_items_are_left_out(
  make_run, write_runs
):
  folder = write_runs(make_run())
  path = folder / "ranker" / "0.json"
  path.parent.mkdir()
  path.write_text(json.dumps({"tasks": ["click"], "config": "ranker"}))
  assert [run.config for run in runs_lib.read_runs(folder)] == [
    "hstu_synthetic"
  ]
