# SPDX-License-Identifier: Apache-2.0
"""README's table: chosen on validation, a data set once, baselines beside."""

import dataclasses

from genrec_jax.report.summary import summary_markdown


def _cells(markdown: str) -> list[list[str]]:
  lines = [x for x in markdown.splitlines() if x.startswith("|")][2:]
  return [[cell.strip() for cell in x.split("|")[1:-1]] for x in lines]


def _with(run, validation, test, **fields):
  metrics = {
    part: {**run.metrics["test"], "ndcg@10": value}
    for part, value in (("validation", validation), ("test", test))
  }
  return dataclasses.replace(run, metrics=metrics, **fields)


def test_ours_is_the_best_on_validation_shown_on_test(make_run):
  run = make_run()
  better = _with(run, 0.3, 0.2, config="a", title="A")
  luckier = _with(run, 0.2, 0.4, config="b", title="B")
  ((_, metric, ours, _, _),) = _cells(summary_markdown([better, luckier]))
  assert metric == "NDCG@10" and ours.startswith("A **0.2000")


def test_a_config_is_judged_over_its_seeds(make_run):
  run = make_run()
  once = [_with(run, 0.5, 0.1, config="a", title="A")]
  once += [_with(run, 0.1, 0.1, config="a", title="A", seed=1)]
  steady = [_with(run, 0.4, 0.2, config="b", title="B", seed=s) for s in (0, 1)]
  ((_, _, ours, _, _),) = _cells(summary_markdown([*once, *steady]))
  assert ours == "B **0.2000**"


def test_the_oracle_is_no_baseline(make_run):
  run = make_run()
  ((_, _, _, baseline, published),) = _cells(summary_markdown([run]))
  value = run.baselines["item_knn"]["test"]["ndcg@10"]
  assert baseline == f"item-kNN {value:.4f}"
  assert run.baselines["oracle"]["test"]["ndcg@10"] > value
  assert published == "-"


def test_published_rows_are_named_by_who_published(make_run):
  run = dataclasses.replace(make_run(), dataset="ml-1m")
  ((title, _, _, _, published),) = _cells(summary_markdown([run]))
  assert title == "MovieLens-1M"
  assert published == "HSTU, both biases (RecTools) 0.1879"


def test_a_data_set_of_two_item_tables_is_shown_once(make_run):
  run = make_run()
  other = dataclasses.replace(run, num_items=7, config="other", title="Other")
  runs = [other, run, dataclasses.replace(run, seed=1)]
  ((_, _, ours, _, _),) = _cells(summary_markdown(runs))
  assert ours.startswith("HSTU")


def test_without_runs_it_says_so():
  assert "No finished run yet" in summary_markdown([])
