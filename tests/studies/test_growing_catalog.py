# SPDX-License-Identifier: Apache-2.0
"""The growing-catalogue study: what arms read, what they measure, verdicts."""

import dataclasses
import json

import numpy as np
import pytest

from genrec_jax.data.simulator.growing_catalog import GrowingCatalog
from studies import growing_arms, growing_verdicts
from studies.growing_arms import WIDTH, Arm
from studies.growing_inputs import Inputs

_WORLD = GrowingCatalog(
  num_users=12, births_per_day=6, life_days=2.0, visits=10, days=5
)


def test_every_seed_has_every_arm_once():
  arms = growing_arms.arms(2)
  assert len({a.name for a in arms}) == len(arms) == 2 * 17
  assert {a.seed for a in arms[:17]} == {1}
  assert [dataclasses.replace(a, seed=2) for a in arms[:17]] == arms[17:]
  with pytest.raises(ValueError, match="--seeds=0"):
    growing_arms.arms(0)


def test_worlds_have_the_same_traffic():
  worlds = [
    GrowingCatalog(
      **growing_arms.config_of(Arm(w, "icr", 4, 3), quick=True)["catalog"]
    )
    for w in growing_arms.WORLDS
  ]
  assert {w.births_per_day * w.visits for w in worlds} == {40}
  assert {w.seed for w in worlds} == {3} and len(set(worlds)) == 4
  sizes = [len(w.draw()) for w in worlds]
  assert max(sizes) - min(sizes) < 0.1 * max(sizes)


def _by_hand(stream, row, side, length):
  """The other side's tokens that a row's list has, oldest first."""
  who, other = (
    (stream.user_E, stream.item_E)
    if side == "user"
    else (stream.item_E, stream.user_E)
  )
  return [
    int(other[e])
    for e in range(len(stream))
    if who[e] == who[row]
    and stream.time_E[e] < stream.time_E[row]
    and stream.click_E[e]
  ][-length:]


@pytest.mark.parametrize("arm", ["icr", "ucr", "both", "content-counts"])
def test_batches_hold_what_was_known_of_each_row(arm):
  stream, length = _WORLD.draw(), 3
  inputs = Inputs(stream, arm, length)
  rows = slice(100, 220)
  batch = inputs.batch(rows)
  assert batch["features_BLF"].shape == (1, 120, len(inputs.features))
  np.testing.assert_array_equal(batch["label_BL"][0], stream.click_E[rows])
  ids = {"item": stream.item_E, "user": stream.user_E}
  for column, name in enumerate(inputs.features):
    if name in ids:
      found = batch["features_BLF"][0, :, column]
      np.testing.assert_array_equal(found, ids[name][rows])
  for of, side, other in (
    ("history", "user", "item"),
    ("audience", "item", "user"),
  ):
    if f"{of}_features_BLHG" not in batch:
      continue
    for n, row in enumerate(range(*rows.indices(len(stream)))):
      told = _by_hand(stream, row, side, length)
      there = batch[f"{of}_{other}_BLH"][0, n]
      assert there.sum() == len(told)
      if arm != "content-counts":
        mine = batch[f"{of}_features_BLHG"][0, n, : len(told), 0]
        assert mine.tolist() == told
  lists = {"icr": {"history"}, "ucr": {"audience"}}
  wanted = lists.get(arm, {"history", "audience"} if arm == "both" else None)
  there = {k.partition("_")[0] for k in batch if k.endswith("BLHG")}
  assert there == (wanted or {"history"})


def test_contents_and_counts_are_those_of_the_log():
  stream = _WORLD.draw()
  inputs = Inputs(stream, "content-counts", 3)
  batch = inputs.batch(slice(0, 200))
  values = dict(zip(inputs.features, batch["features_BLF"][0].T, strict=True))
  assert not {"item", "user"} & set(inputs.features)
  # Larger entries are in later buckets.
  entry = stream.content_VW[stream.item_E[:200], 2]
  order = np.argsort(entry)
  assert (np.diff(values["content_2"][order]) >= 0).all()
  assert set(values["content_2"].tolist()) == set(range(8))
  for row in range(0, 200, 7):
    before = stream.time_E < stream.time_E[row]
    mine = before & (stream.item_E == stream.item_E[row])
    clicks = int((mine & (stream.click_E > 0)).sum())
    assert values["item_shown"][row] == np.ceil(np.log2(mine.sum() + 1))
    assert values["item_clicks"][row] == np.ceil(np.log2(clicks + 1))


def test_tables_have_a_row_a_token_and_no_more():
  stream = _WORLD.draw()
  rows = {arm: Inputs(stream, arm, 3).system(4).feature_rows for arm in
          ("icr", "ucr", "both", "content")}  # fmt: skip
  assert rows["icr"] == (stream.num_items,) and rows["ucr"] == (12,)
  assert rows["both"] == (stream.num_items, 12)
  assert rows["content"] == (8,) * 4


def test_excess_is_the_log_loss_above_the_best():
  rng = np.random.default_rng(0)
  chance, logit = rng.uniform(0.05, 0.95, 9), 3 * rng.normal(size=9)
  model = 1 / (1 + np.exp(-logit))
  by_hand = chance * np.log(chance / model)
  by_hand += (1 - chance) * np.log((1 - chance) / (1 - model))
  found = growing_arms.divergence(chance, logit)
  np.testing.assert_allclose(found, by_hand)
  assert (found > 0).all()
  best = np.log(chance / (1 - chance))
  np.testing.assert_allclose(
    growing_arms.divergence(chance, best), 0, atol=1e-12
  )
  assert np.isfinite(
    growing_arms.divergence(chance[:2], np.array([-900, 900]))
  ).all()


def test_tokens_that_a_period_meets_first():
  token = np.array([4, 4, 1, 1, 4, 2, 2, 1])
  assert growing_arms.first_met(token, 2).tolist() == [
    *(True, True, True, True, False, True, False, False),
  ]
  assert growing_arms._met(token, 2) == [1, 2, 3, 3]


# Excess t^power of every arm, and what is added at a width.
_POWER = {"icr": -0.1, "ucr": -0.8, "both": -0.8, "content": -0.7}
_FALLS = {("fixed", "icr"): -0.8, ("user_births", "ucr"): -0.1}


def _found(powers=None, *, seeds=4, width=0.02, counts=0.05):
  """Arms of made-up errors with a little noise."""
  rng = np.random.default_rng(0)
  t, found = np.arange(1, 41), {}
  for arm in growing_arms.arms(seeds):
    name, _, counted = arm.arm.partition("-")
    power = (_FALLS | (powers or {})).get((arm.world, name), _POWER[name])
    excess = 0.2 * t**power + 1e-4 * rng.random(40)
    excess -= counts * excess * bool(counted)
    sign = {"icr": 1, "ucr": -1}.get(name, 0)
    excess *= 1 + sign * width * np.log2(arm.width / WIDTH)
    rows = {
      name: [float(x) for x in excess] for name in
      ("excess", "excess_new_items", "excess_old_items")
    }  # fmt: skip
    found[arm] = rows | {
      "config": dataclasses.asdict(arm),
      "items_met": (100 * t + 200).tolist(),
      "users_met": [2000] * 40,
      "seconds": 1.0,
    }
  return found


def _verdicts(found):
  return {k: r["verdict"] for k, r in growing_verdicts.claims(found).items()}


def test_verdicts_need_their_sign_in_several_seeds():
  said = _verdicts(_found())
  assert set(said.values()) == {"holds"}, said
  one = _verdicts(_found(seeds=1))
  assert {v for k, v in one.items() if k not in ("1 toy", "2")} == {
    "none: one seed"
  }
  # Each by what would refute it.
  for names, changes in (
    (("1",), {"powers": {("births", "icr"): -0.9, ("fixed", "icr"): -2.0}}),
    (("4",), {"powers": {("fixed", "icr"): -0.05}}),
    (("5",), {"powers": {("user_births", "ucr"): -0.9}}),
    (("6",), {"powers": {("births", "content"): -0.05}}),
    (("3 icr", "3 ucr"), {"width": -0.02}),
    (("7",), {"counts": -0.05}),
  ):
    said = _verdicts(_found(**changes))
    assert {said[name] for name in names} == {"not supported"}, names


def test_the_toy_and_the_growth_of_tables():
  toy = growing_verdicts.toy(days=24)
  assert toy["verdict"] == "holds" and abs(toy["slope of items"]) < 0.05
  growth = growing_verdicts.growth(_found(seeds=1))
  assert growth["items / users at the end"] == 2.1
  assert growth["items met at half and end"] == [2200, 4200]


def test_differences_are_of_the_same_seeds():
  found = _found()
  slopes = [
    growing_verdicts.by_seed(found, "births", arm, growing_verdicts.slope_of)
    for arm in ("icr", "ucr")
  ]
  del slopes[0][2]
  with pytest.raises(ValueError, match="are not paired"):
    growing_verdicts.minus(*slopes)
  with pytest.raises(ValueError, match="births-both-64 was not run"):
    growing_verdicts.by_seed(
      found, "births", "both", growing_verdicts.slope_of, 64
    )


def test_the_table_has_a_line_an_arm():
  found = _found(seeds=2)
  for one in found.values():
    one["excess_new_items"] = [0.5] + [None] * 39
  lines = growing_verdicts.table(found).splitlines()
  assert len(lines) == 2 + 17
  assert lines[2].startswith("| births | icr | 4 | -0.") and "| - |" in lines[2]
  rows = growing_verdicts.figures(found)
  assert json.loads(json.dumps(rows)) == rows and len(rows) == 2 * 17


@pytest.mark.slow
def test_an_arm_is_run_once_and_kept(tmp_path):
  wanted = [Arm("births", "both", 4, 1), Arm("user_births", "ucr", 4, 1)]
  first = growing_arms.measure(wanted[:1], tmp_path, quick=True)[wanted[0]]
  path = tmp_path / "arms" / "births-both-4-1.json"
  written = path.stat().st_mtime_ns
  found = growing_arms.measure(wanted, tmp_path, quick=True)
  assert found[wanted[0]] == first and path.stat().st_mtime_ns == written
  assert len(list(path.parent.iterdir())) == 2
  # Six days of forty rows, give or take the edges.
  assert 5 <= len(first["excess"]) <= 6
  assert all(x > 0 for x in first["excess"])
  assert first["excess_old_items"][0] is None
  assert first["items_met"] == sorted(first["items_met"])
  assert first["users_met"][-1] <= 30 < found[wanted[1]]["users_met"][-1]
  # What the rows' true chances leave, and rates of items above it.
  assert all(0 < x < np.log(2) for x in first["best_log_loss"])
  assert all(x > 0 for x in first["excess_of_rates"])
  with pytest.raises(ValueError, match="is of another config"):
    growing_arms.measured(wanted[0], tmp_path, quick=False)
