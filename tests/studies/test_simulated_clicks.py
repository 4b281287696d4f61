# SPDX-License-Identifier: Apache-2.0
"""Clicks have the cause that is said of them, and bits are those of a table."""

import numpy as np
import pytest

from studies import signals
from studies.simulated_clicks import Counted, Drifting


def test_clicks_follow_the_count_that_is_shown_or_hidden():
  clicks = Counted(events=20, shown=5, items=3)(
    np.random.default_rng(0), 20_000
  )
  past, own = clicks.history["category"], clicks.features
  assert past.shape == (20_000, 5)
  same = ((past == own["category"][:, None]) & (past >= 0)).sum(axis=1)
  assert (same <= own["count"]).all() and (same < own["count"]).any()
  short = own["length"] <= 5
  np.testing.assert_array_equal(same[short], own["count"][short])
  for count in (0, 2, 4):
    rate = clicks.click[own["count"] == count].mean()
    assert rate == pytest.approx(1 / (1 + np.exp(4.5 - 1.5 * count)), abs=0.04)
  np.testing.assert_array_equal(own["item"] // 3, own["category"])
  batch = clicks.batch(("item", "count"), ("item",))
  assert batch["features_BLF"].shape == (625, 32, 2)
  assert batch["history_features_BLHG"].min() == 0
  there = batch["history_item_BLH"].sum(-1).reshape(-1)
  np.testing.assert_array_equal(there, np.minimum(own["length"], 5))


def test_a_window_tells_of_today_more_than_the_past_does():
  clicks = Drifting(items=50)(np.random.default_rng(0), 20_000)
  window, static = (
    np.corrcoef(clicks.features[name], clicks.click)[0, 1]
    for name in ("window", "static")
  )
  assert window > 2 * abs(static)
  assert max(clicks.features["window"]) < 50


def test_bits_are_those_of_the_joint_table():
  taste = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]])
  choice, click = signals.chances(taste, 0.3)
  assert click.mean() == pytest.approx(0.3)
  found = signals.bits(taste, 0.3)

  def information(joint):
    independent = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    return (joint * np.log2(joint / independent)).sum()

  assert found["choice"] == pytest.approx(information(choice / 2))
  tables = [np.stack([1 - p, p], axis=1) / 2 for p in click.T]
  expected = np.mean([information(table) for table in tables])
  assert found["click"] == pytest.approx(expected)
  alike = signals.bits(np.tile(taste[:1], (3, 1)), 0.3)
  np.testing.assert_allclose(list(alike.values()), 0, atol=1e-12)
