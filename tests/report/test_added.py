# SPDX-License-Identifier: Apache-2.0
"""Tables of what runs add to other retrievers, from files of results."""

import json

import pytest

from genrec_jax.cli.report import tables_of
from genrec_jax.report import tables
from genrec_jax.report.retrieval.added import adding_tables, read_adding_runs
from tests.report.test_tables import _rows

_NAME = "evaluation.IncrementalRecall"


def _section(seed, ks=(10,)):
  """Round figures, a thousandth higher with every seed."""
  levels = {"ensemble": 0.1, "model": 0.2, "r_inc": 0.15, "r_inc_fixed": -0.02}
  levels |= {"union": 0.25, "fixed": 0.08}
  test = {f"{n}@{k}": x + seed / 1e3 for k in ks for n, x in levels.items()}
  parts = {"validation": dict.fromkeys(test, 0.9), "test": test}
  alone = {f"recall@{k}": 0.07 + k / 1e3 for k in ks}
  ends = {n: [x - 0.01, x + 0.01] for n, x in test.items()}
  return {
    "evaluator": _NAME,
    "ks": list(ks),
    "metrics": parts,
    "intervals": {"validation": ends, "test": ends},
    "retrievers": {"item_knn": {"validation": alone, "test": alone}},
    "gap": {},
    "num_requests": {},
    "notes": [],
  }


@pytest.fixture
def write(tmp_path, make_run):
  """Writes results as genrec evaluate does; returns their folder."""

  def write_all(*runs):
    for config, seed, options, section in runs:
      run = make_run(config=config, seed=seed)
      shared = {k: v for k, v in vars(run).items() if k not in section}
      node = {"name": _NAME, **options}
      evals = {"next_item": {"name": "other"}, "mine": node}
      document = {
        **shared,
        "config_values": {"seed": seed, "evals": evals},
        "sections": {"mine": section},
      }
      path = tmp_path / config / f"{seed}.json"
      path.parent.mkdir(exist_ok=True)
      path.write_text(json.dumps(document))
    return tmp_path

  return write_all


def test_a_row_has_mean_and_interval_over_seeds_of_the_test_part(write):
  folder = write(
    *(("listed", seed, {}, _section(seed)) for seed in range(3)),
    ("weights", 0, {}, _section(5, (10, 50))),
  )
  head, legend, table = adding_tables(read_adding_runs(folder))
  assert head.startswith("### Beside other retrievers: Simulated shoppers: 1,")
  assert "a model takes the last 20%" in legend
  rows = _rows(table)
  assert len({len(row) for row in rows}) == 1
  assert rows[0][1:5] == [
    *("the others@10", "alone@10", "R_inc@10", "R_inc@10, fixed"),
  ]
  # Both configs have the list; at 50 one alone says what it finds.
  assert rows[2][:3] == ["`item_knn`", "-", "0.0800"]
  assert rows[2][6] == "0.1200" and rows[2][-1] == "one of the others"
  by_config = {row[0].split("`")[1]: row for row in rows[3:]}
  # t of two degrees of freedom, 4.303, by .001 / sqrt(3).
  listed = by_config["listed"]
  assert listed[3] == "0.1510 [0.1485, 0.1535]"
  assert listed[4] == "-0.0190 [-0.0215, -0.0165]"
  assert listed[5:] == ["-", "-", "-", "-", "seed 0, 1, 2"]
  assert by_config["weights"][3] == "0.1550 (0.145-0.165)"


def test_others_of_another_protocol_stand_apart(write):
  folder = write(
    ("hidden", 0, {}, _section(0)),
    ("shown", 0, {"filter_history": False, "replaced": 0.5}, _section(0)),
  )
  parts = adding_tables(read_adding_runs(folder))
  assert len(parts) == 6
  assert "history among the candidates" in "".join(parts[::3])
  assert [p for p in parts[1::3] if "the last 50%" in p]


def test_the_command_shows_them_where_there_are_any(write, tmp_path):
  assert adding_tables(read_adding_runs(tmp_path)) == []
  assert tables_of(tmp_path) == tables.NO_RESULTS
  folder = write(("listed", 0, {}, _section(0)))
  said = tables_of(folder)
  assert "Beside other retrievers" in said and "R_inc@10" in said
  assert "config file is not here" in said
