# SPDX-License-Identifier: Apache-2.0
"""The tables of results: what a cell says, and that nothing is left out."""

import dataclasses
import json
import re

import pytest

from configs import hstu_synthetic
from genrec_jax.core.build import to_plain
from genrec_jax.metrics.slices import LATER
from genrec_jax.report import cells, tables
from genrec_jax.report.published import PUBLISHED, published_for
from genrec_jax.report.retrieval.added import AddingRun, adding_tables
from genrec_jax.report.runs import Finished, Summary


def _rows(markdown: str) -> list[list[str]]:
  """The cells of every table line."""
  lines = [line for line in markdown.splitlines() if line.startswith("|")]
  return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_cell_says_how_sure_it_is_and_over_what():
  one, three = Summary(0.3023, None, 1), Summary(0.3023, (0.2992, 0.30541), 3)
  assert cells.cell(one, None) == "0.3023"
  assert cells.cell(one, (0.291, 0.3141)) == "0.3023 (0.291-0.314)"
  # Over seeds in brackets, whatever is known of users.
  assert cells.cell(three, (0.291, 0.3141)) == "0.3023 [0.2992, 0.3054]"
  # What does not depend on the seed has a width of 0.
  assert cells.cell(Summary.of([0.1, 0.1, 0.1])) == "0.1000"
  assert cells.cell(None, None) == "-"


def test_every_line_of_a_table_has_as_many_cells_as_its_head(make_run):
  table = tables.dataset_table("data", [make_run(), make_run(seed=1)])
  assert len({len(row) for row in _rows(table)}) == 1


def test_baselines_stand_first_and_the_oracle_last(make_run):
  rows = _rows(tables.dataset_table("data", [make_run()]))[2:]
  assert [row[0] for row in rows] == [
    "most popular",
    "item-kNN",
    "**HSTU** `hstu_synthetic`",
    "HSTU, asked one median gap after the last event",
    "oracle (true model)",
  ]


def test_targets_of_a_later_day_have_a_column_where_they_are_known(make_run):
  def slices(value):
    later = {"ndcg@10": value, "requests": 5}
    return {"test": {"since_last_event": {LATER: later}}}

  run = make_run(
    slices=slices(0.07),
    baseline_slices={"item_knn": slices(0.05)},
  )
  head, _, *rows = _rows(tables.dataset_table("data", [run]))
  place = head.index("NDCG@10, a day or more later")
  assert {row[0]: row[place] for row in rows} == {
    "most popular": "-",
    "item-kNN": "0.0500",
    "**HSTU** `hstu_synthetic`": "0.0700",
    "HSTU, asked one median gap after the last event": "-",
    "oracle (true model)": "-",
  }
  without = tables.dataset_table("data", [make_run()])
  assert "later" not in without


def test_an_approximate_search_has_a_row_beside_the_exact_one(make_run):
  exact = [make_run(0.20, retriever="brute_force"), make_run(0.22, seed=1)]
  runs = [*exact, make_run(0.18, retriever="scann")]
  rows = _rows(tables.dataset_table("data", runs))
  named = {row[0]: (row[1], row[-1]) for row in rows if "**" in row[0]}
  (by_scann,) = [n for n in named if n.startswith("**HSTU, by ScaNN** `")]
  assert named[by_scann] == ("0.1800 (0.170-0.190)", "seed 0")
  assert named["**HSTU** `hstu_synthetic`"][1] == "seed 0, 1"


def test_seeds_of_one_config_make_one_row(make_run):
  runs = [make_run(0.20), make_run(0.22, seed=1), make_run(0.24, seed=2)]
  rows = _rows(tables.dataset_table("data", runs))
  (row,) = [row for row in rows if "**HSTU" in row[0]]
  assert row[1] == "0.2200 [0.1703, 0.2697]"
  assert row[-1] == "seed 0, 1, 2"


def test_the_legend_says_what_an_interval_is_over(make_run):
  body = tables.results_markdown([make_run()])
  assert "[95 % t interval over seeds" in body and "±" not in body
  assert "(95 % interval over users" in body and "no verdict" in body


def test_published_rows_carry_their_deviation(make_run):
  run = make_run(dataset=PUBLISHED[0].dataset + "-any")
  table = tables.dataset_table("data", [run])
  numbers = set(re.findall(r"published \[(\d+)\]", table))
  assert numbers
  for row in published_for(run.dataset):
    assert row.setup in table
  for number in numbers:
    assert f"\n{number}. " in table


def test_no_published_row_is_without_source_and_setup():
  for row in PUBLISHED:
    assert row.source and row.setup
    assert all(0 < value < 1 for value in row.metrics.values())


def test_each_run_says_where_it_was_made(make_run):
  text = tables.runs_table([make_run()])
  for fact in ("1,234", "cpu x 1", "2 min", "2026-01-02", "`0123456789`"):
    assert fact in text


def test_a_row_says_what_the_command_line_changed(make_run):
  first = make_run(config_values=_values(**{"train.steps": 7}))
  table = tables.runs_table([first, dataclasses.replace(first, seed=1)])
  (row,) = _rows(table)[2:]
  assert row[0] == "`--config=configs/hstu_synthetic.py --config.train.steps=7`"
  other = make_run(seed=1, config_values=_values())
  (row,) = _rows(tables.runs_table([first, other]))[2:]
  assert row[0].endswith("=7`<br>`--config=configs/hstu_synthetic.py`")


def _values(**changed):
  """The config as a result stores it, with values changed by dotted key."""
  config = hstu_synthetic.get_config()
  config.update_from_flattened_dict(changed)
  return json.loads(json.dumps(to_plain(config)))


def test_runs_that_were_measured_in_several_ways_were_made_once(make_run):
  run = make_run()
  values = {f.name: getattr(run, f.name) for f in dataclasses.fields(Finished)}
  beside = AddingRun(
    **values | {"config": "other"}, ks=(), metrics={"test": {}},
    intervals={"test": {}}, retrievers={},
  )  # fmt: skip
  both = tables.results_markdown([run], [], [beside])
  assert tables.results_markdown([run]) in both.replace(
    "\n\n".join(adding_tables([beside])) + "\n\n", ""
  )
  assert both.count("| `--config=") == 2
  same = dataclasses.replace(beside, config=run.config)
  again = tables.results_markdown([run], [], [same])
  assert again.count("| `--config=") == 1


def test_splice_changes_nothing_outside_the_markers():
  text = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter"
  new = tables.splice(text, "new")
  assert new.startswith("before\n") and new.endswith("\nafter")
  assert "old" not in new and "\nnew\n" in new
  assert tables.splice(new, "new") == new


def test_splice_without_markers_is_an_error():
  with pytest.raises(ValueError, match="once each"):
    tables.splice("no markers", "new")


def test_without_results_the_table_says_so():
  assert tables.results_markdown([]) == tables.NO_RESULTS
