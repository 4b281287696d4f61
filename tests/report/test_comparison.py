# SPDX-License-Identifier: Apache-2.0
"""What may be said of two sides: by seeds, corrected, and never of one seed."""

import json

import pytest

from genrec_jax.metrics.bootstrap import Interval
from genrec_jax.report import comparison
from genrec_jax.report.comparison import Measured, Side

_SEEDS = (0, 1, 2)


def _side(config="a", seeds=_SEEDS):
  return Side(config, f"Model of {config}", seeds)


def _measured(mean, spread=0.001, users=None):
  """Differences of mean - spread, mean and mean + spread."""
  each = {0: mean - spread, 1: mean, 2: mean + spread}
  around = users and Interval(mean, *users, 100)
  return Measured(each, dict.fromkeys(_SEEDS, 0.0), around, around)


def _verdicts(measured, **options):
  found = comparison.compare(
    _side(), _side("a-x"), "test, model", measured, **options
  )
  return {f"{r.section}/{r.metric}": r.verdict for r in found.rows}, found


def test_ahead_is_what_the_seeds_say_whatever_users_do():
  said, found = _verdicts(
    {
      ("click", "auc"): _measured(0.005, users=(0.004, 0.006)),
      # Sure over users, and not over seeds.
      ("like", "auc"): _measured(0.005, 0.01, users=(0.004, 0.006)),
      # Sure over seeds, and not over users.
      ("view", "auc"): _measured(-0.05, users=(-0.11, 0.01)),
      ("click", "ne"): _measured(-0.05),
      ("click", "log_loss"): _measured(0.05),
    }
  )
  assert said == {
    "click/auc": "ahead",
    "like/auc": "not decided",
    "view/auc": "behind, on these users only",
    "click/ne": "ahead",
    "click/log_loss": "behind",
  }
  text = comparison.table_of(found)
  assert "paired by seed" in text and "by default: click auc" in text


def test_all_but_the_primary_metric_are_corrected():
  # p = .013: below .05, and above .05 / 4 that the smallest of four needs.
  each = {(task, "auc"): _measured(0.005) for task in "abcde"}
  said, found = _verdicts(each, primary="c/auc")
  p_values = {round(row.seeds.p_value, 3) for row in found.rows}
  assert p_values == {0.013}
  assert {k for k, v in said.items() if v == "ahead"} == {"c/auc"}
  assert {row.p_holm for row in found.rows if row.section == "c"} == {None}
  # Fewer that are looked at need less.
  few = {("a", "auc"): each["a", "auc"], ("a", "ne"): _measured(0.9, 9.0)}
  said, _ = _verdicts(few, primary="a/ne", metrics=["auc", "ne"])
  assert said["a/auc"] == "ahead"
  said, found = _verdicts({**each, **few}, metrics=["ne"])
  assert list(said) == ["a/ne"] and found.primary == ("a", "ne")


@pytest.mark.parametrize("theirs", [(0,), (1, 2, 3)])
def test_one_seed_has_no_verdict_and_others_are_welchs(theirs):
  values = dict.fromkeys(theirs, 0.0)
  measured = {
    ("click", "auc"): Measured({0: 0.9}, values, Interval(0.9, 0.8, 1.0, 9))
  }
  found = comparison.compare(
    _side(seeds=(0,)), _side("b", theirs), "test, model", measured
  )
  assert found.rows[0].verdict == comparison.NO_VERDICT
  text = comparison.table_of(found)
  assert "ahead" not in text and "no verdict over seeds" in text
  assert ("One seed each" in text) == (theirs == (0,))


def test_seeds_are_paired_within_one_config_file_only():
  assert comparison.same_seeds(_side("a"), _side("a-x"))
  assert not comparison.same_seeds(_side("a"), _side("b"))
  assert not comparison.same_seeds(_side("a"), _side("a-x", (0, 1)))
  measured = {("click", "auc"): _measured(0.005)}
  found = comparison.compare(_side("a"), _side("b"), "test", measured)
  assert not found.rows[0].seeds.paired
  assert "Welch" in comparison.rests_on(found)


def test_a_side_is_called_by_its_title_and_its_config_once():
  assert _side().text == "Model of a a (seeds 0, 1, 2)"
  assert Side("a", "a", (4,)).text == "a (seed 4)"


def test_what_finds_items_is_judged_by_ndcg():
  names = [("next item", "hr@10"), ("next item", "ndcg@10"), ("click", "auc")]
  assert comparison.default_primary(names) == ("next item", "ndcg@10")
  assert comparison.default_primary(names[2:]) == ("click", "auc")
  assert comparison.default_primary(names[:1]) == ("next item", "hr@10")


def test_a_line_has_all_that_the_table_has():
  _, found = _verdicts(
    {("click", "auc"): _measured(0.005, users=(0.004, 0.006))},
    primary="click/auc",
  )
  line = json.loads(comparison.line_of(found))
  assert line["primary"] == "click/auc" and line["primary_named"]
  assert line["ours"] == {
    "config": "a",
    "title": "Model of a",
    "seeds": [0, 1, 2],
  }
  one = line["differences"]["click"]["auc"]
  assert one["over_users"] == one["over_both"] == [0.004, 0.006]
  assert one["over_seeds"][0] < one["difference"] < one["over_seeds"][1]
  assert one["verdict"] == "ahead" and one["p_holm"] is None


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"primary": "click/acu"}, "'click/acu' is not .* mean 'click/auc'"),
    ({"metrics": ["acu"]}, "no metric 'acu' .* mean 'auc'"),
  ],
)
def test_unknown_names_are_answered_with_the_choices(options, message):
  with pytest.raises(ValueError, match=message):
    _verdicts({("click", "auc"): _measured(0.005)}, **options)
