# SPDX-License-Identifier: Apache-2.0
"""The verdict on a ranker: over all users and within each, by intervals."""

import pytest

from genrec_jax.report.ranking.verdict import best_baseline, verdict

_ABOVE, _BELOW = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01)
_UNSURE = (0.01, -0.01, 0.03)


def _metrics(auc, gauc, one_class=0.4):
  return {"auc": auc, "gauc": gauc, "one_class_impressions": one_class}


def _result(cart=(_ABOVE, _ABOVE), like=(_ABOVE, _ABOVE), **changes):
  """Of two tasks, each (AUC, GAUC) against its best baseline; None: undefined.

  By AUC the user's rate is the best baseline of like, by GAUC the item's.
  """
  differences = {"cart": cart, "like": like}
  versus = {
    task: {
      name: list(found)
      for name, found in zip(("auc", "gauc"), pair, strict=True)
      if found
    }
    for task, pair in differences.items()
  }
  item = {"cart": _metrics(0.7, 0.6), "like": _metrics(0.7, 0.6)}
  user = {"cart": _metrics(0.6, 0.5), "like": _metrics(0.8, 0.5)}
  # What is against another baseline than the best must not be read.
  wrong = {"auc": [9.0, 8.0, 10.0], "gauc": [9.0, 8.0, 10.0]}
  return {
    "tasks": ["cart", "like"],
    "num_impressions": {"test": 1000},
    "metrics": {"test": {t: _metrics(0.8, 0.6) for t in ("cart", "like")}},
    "baselines": {"item_rate": {"test": item}, "user_rate": {"test": user}},
    "versus": {
      "item_rate": {
        "test": {
          "cart": versus["cart"],
          "like": {**versus["like"], "auc": wrong["auc"]},
        }
      },
      "user_rate": {
        "test": {"cart": wrong, "like": {**versus["like"], "gauc": [9, 8, 10]}}
      },
    },
  } | changes


def test_it_is_won_where_every_task_is_surely_above_its_best_baseline():
  said = verdict(_result())
  assert said.won
  assert said.point == (
    "is above the training rates in every task over all users"
  )
  # Of one training: other seeds were not asked.
  assert said.text.endswith(
    "over users, paired. One seed: no verdict over seeds."
  )
  assert "this training is above" in said.text
  assert "cart +0.0200 against the item's rate (+0.0100 to +0.0300)" in (
    said.text
  )
  assert "like +0.0200 against the user's rate" in said.after
  assert best_baseline(_result(), "like", "auc") == "user_rate"
  assert best_baseline(_result(), "like", "gauc") == "item_rate"


def test_an_interval_over_zero_wins_nothing():
  said = verdict(_result(like=(_UNSURE, _ABOVE)))
  assert not said.won
  assert "not surely above the training rates in like" in said.point
  said = verdict(_result(cart=(_BELOW, _ABOVE), like=(None, _ABOVE)))
  assert (
    not said.won
    and "not surely above the training rates in any task" in said.point
  )
  assert "like not defined" in said.after


def test_ahead_over_all_users_and_behind_within_them_is_not_won():
  said = verdict(_result(like=(_ABOVE, _BELOW)))
  assert not said.won
  assert said.point == (
    "is above the training rates in every task over all users, but"
    " below the item's rate within users for like"
  )
  within = said.after[said.after.index("Within users (GAUC)") :]
  assert (
    "like -0.0200 against the item's rate (-0.0300 to -0.0100, of 60.0% of the"
    " items)" in within
  )
  assert "cart +0.0200" in within
  both = verdict(_result(cart=(_ABOVE, _BELOW), like=(_UNSURE, _BELOW)))
  assert "the training rates in like, and below the item's" in both.point
  assert both.point.endswith("within users for cart and like")


def test_not_surely_ahead_within_users_is_not_won():
  said = verdict(_result(cart=(_ABOVE, _UNSURE)))
  assert not said.won
  assert said.point.endswith("but not surely within users for cart")


@pytest.mark.parametrize("like", [(_ABOVE, None), (_BELOW, None)])
def test_without_users_of_both_outcomes_the_pooled_metric_decides(like):
  metrics = {"cart": _metrics(0.8, 0.6), "like": _metrics(0.8, None, 1.0)}
  said = verdict(_result(like=like, metrics={"test": metrics}))
  assert said.won == (like[0] == _ABOVE)
  assert "both outcomes of like (0.0% of the items)" in said.after
  assert "within users" not in said.point


def test_without_baselines_nothing_is_won_and_no_reason_is_made_up():
  said = verdict(_result(baselines={}, versus={}))
  assert not said.won and "cart not defined; like not defined" in said.after
  assert "outcomes" not in said.text and "Within" not in said.text


def test_within_users_frozen_histories_are_what_counts():
  running = _result(cart=(_ABOVE, _BELOW), like=(_ABOVE, _BELOW))
  assert not verdict(running).won
  frozen = _result()["versus"]
  said = verdict({**running, "versus_frozen": frozen})
  assert said.won and "GAUC, frozen histories" in said.after
  # Over all users a running history is what a service has.
  lost = _result(cart=(_BELOW, _ABOVE), versus_frozen=frozen)
  assert not verdict(lost).won
