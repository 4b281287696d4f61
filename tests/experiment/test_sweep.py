# SPDX-License-Identifier: Apache-2.0
"""Equal trials: what is drawn, what must be shared, what a trial is worth."""

import json

import pytest

from genrec_jax.experiment import sweep
from genrec_jax.experiment.sweep import Option

_SPACE = [Option.of("a.rate=0.001..0.1"), Option.of("b=0,0.5,1")]


def test_draws_are_of_seed_and_number_alone_and_within_the_space():
  drawn = sweep.draws(_SPACE, 40, seed=3)
  assert drawn[0] == {} and drawn[:5] == sweep.draws(_SPACE, 5, seed=3)
  assert drawn[1:] != sweep.draws(_SPACE, 40, seed=4)[1:]
  rates = [float(one["a.rate"]) for one in drawn[1:]]
  assert 0.001 <= min(rates) and max(rates) <= 0.1
  # Half of them below the geometric mean, not below the middle.
  assert 10 < sum(rate < 0.01 for rate in rates) < 29
  assert {one["b"] for one in drawn[1:]} == {"0", "0.5", "1"}


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("rate", "write KEY=VALUE"),
    ("rate=", "write KEY=VALUE"),
    ("rate=1..x", "two numbers"),
    ("rate=0..1", "0 < LOW < HIGH"),
    ("rate=2..1", "0 < LOW < HIGH"),
  ],
)
def test_an_option_that_cannot_be_is_an_error(text, said):
  with pytest.raises(ValueError, match=said):
    Option.of(text)


def test_trials_that_would_be_the_same_are_an_error():
  with pytest.raises(ValueError, match="would all be the same"):
    sweep.draws([], 2, seed=0)
  with pytest.raises(ValueError, match="each key once"):
    sweep.draws([_SPACE[1], _SPACE[1]], 2, seed=0)
  assert sweep.draws([], 1, seed=0) == [{}]


def _config(**changes):
  shared = {"data": {"path": "a"}, "split": {}, "filter": {}}
  return {**shared, "train": {"monitor": "auc"}, **changes}


def test_configs_of_other_data_or_another_monitor_are_not_compared():
  sweep.check_alike({"x": _config(), "y": _config(system={"width": 3})})
  with pytest.raises(ValueError, match="y and x differ in config.data"):
    sweep.check_alike({"x": _config(), "y": _config(data={"path": "b"})})
  other = _config(train={"monitor": "ndcg@10"})
  with pytest.raises(ValueError, match="x is chosen by auc and y by ndcg@10"):
    sweep.check_alike({"x": _config(), "y": other})


def test_a_trial_is_worth_its_best_validation(tmp_path):
  rows = [
    {"step": 10, "seconds": 2.0, "train/loss": 1.0},
    {"step": 20, "seconds": 5.0, "validation/a": 0.5, "validation/b": 0.9},
    {"step": 40, "seconds": 9.0, "validation/a": 0.8, "validation/b": 0.4},
    {"step": 50, "seconds": 11.0, "train/loss": 0.5},
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (tmp_path / "metrics.jsonl").write_text(text)
  both = sweep.result_of(tmp_path, "a+b")
  assert both == {"best": 0.7, "best_step": 20, "steps": 50, "seconds": 11.0}
  assert sweep.result_of(tmp_path, "a")["best_step"] == 40
  with pytest.raises(ValueError, match="no validation by c"):
    sweep.result_of(tmp_path, "c")


def test_the_first_of_equal_trials_is_chosen_and_failed_ones_never():
  trials = {"0": {"best": 0.5}, "1": {"failed": 1}, "2": {"best": 0.6}}
  assert sweep.chosen(trials) == "2"
  assert sweep.chosen({**trials, "10": {"best": 0.6}}) == "2"
  assert sweep.chosen({"1": {"failed": 1}}) is None
