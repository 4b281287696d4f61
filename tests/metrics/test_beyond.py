# SPDX-License-Identifier: Apache-2.0
"""All metrics of lists at once: batches, slices, and what may change what."""

import numpy as np
import pytest

from genrec_jax.metrics.beyond import BeyondAccuracyMetrics
from genrec_jax.metrics.item_counts import ItemCounts
from genrec_jax.metrics.item_facts import ItemFacts

_V, _U, _K = 30, 40, 6
_KS = (2, 6)


def _items(vectors=True, categories=True):
  rng = np.random.default_rng(0)
  # Items above 25 are cold.
  train = [1 + (25 * rng.random(n) ** 2).astype(int) for n in range(20)]
  return ItemFacts(
    ItemCounts.from_batch(train, _V),
    rng.normal(size=(_V + 1, 4)).astype(np.float32) if vectors else None,
    (rng.random((_V + 1, 3)) < 0.5).astype(np.float32) if categories else None,
  )


def _batch(seed=1):
  rng = np.random.default_rng(seed)
  lists = rng.integers(-1, _V + 1, (_U, _K)).astype(np.int32)
  lists[3] = 0
  targets = rng.integers(0, _V + 1, _U).astype(np.int32)
  targets[::2] = np.maximum(lists[::2, 1], 0)
  lengths = rng.integers(0, 30, _U)
  histories = [rng.integers(1, _V + 1, n).astype(np.int32) for n in lengths]
  return lists, targets, histories


def _equal(one, other):
  assert one.keys() == other.keys()
  for name, value in one.items():
    assert other[name] == (value if value is None else pytest.approx(value))


def test_merged_batches_are_the_whole():
  items = _items()
  lists, targets, histories = _batch()
  whole = BeyondAccuracyMetrics.from_batch(
    lists, targets, histories, items, ks=_KS
  )
  merged = BeyondAccuracyMetrics.empty(items, _KS)
  for part in (slice(0, 7), slice(7, 8), slice(8, None)):
    merged = merged.merge(
      BeyondAccuracyMetrics.from_batch(
        lists[part], targets[part], histories[part], items, ks=_KS
      )
    )
  _equal(merged.compute(), whole.compute())
  assert merged.counted() == whole.counted()
  for kind, slices in merged.slices(items).items():
    for name, figures in slices.items():
      _equal(figures, whole.slices(items)[kind][name])


def test_where_leaves_lists_out():
  items = _items()
  lists, targets, histories = _batch()
  where = np.arange(_U) % 3 > 0
  state = BeyondAccuracyMetrics.from_batch(
    lists, targets, histories, items, where=where, ks=_KS
  )
  kept = [h for h, keep in zip(histories, where, strict=True) if keep]
  expected = BeyondAccuracyMetrics.from_batch(
    lists[where], targets[where], kept, items, ks=_KS
  )
  _equal(state.compute(), expected.compute())


def test_targets_change_recall_and_serendipity_alone():
  """All other statistics are known before the test part is."""
  items = _items()
  lists, targets, histories = _batch()
  states = [
    BeyondAccuracyMetrics.from_batch(
      lists, t, histories, items, ks=_KS
    ).compute()
    for t in (targets, np.roll(targets, 1))
  ]
  changed = {n for n, value in states[0].items() if value != states[1][n]}
  assert changed == {
    f"{name}@{k}" for name in ("recall", "serendipity") for k in _KS
  }


def test_recall_is_the_target_among_the_first_places():
  items = _items()
  lists = np.array([[4, 0, 2], [4, 1, 2], [4, 1, 2], [0, 0, 0]])
  targets = np.array([2, 1, 0, 5])
  nobody = [np.zeros(0, np.int32)] * 4
  values = BeyondAccuracyMetrics.from_batch(
    lists, targets, nobody, items, ks=(2, 3)
  ).values()
  np.testing.assert_array_equal(values["recall@2"], [0, 1, np.nan, 0])
  np.testing.assert_array_equal(values["recall@3"], [1, 1, np.nan, 0])
  assert np.isnan(values["lift@2"]).all()


def test_slices_put_together_are_the_whole():
  items = _items()
  lists, targets, histories = _batch()
  state = BeyondAccuracyMetrics.from_batch(
    lists, targets, histories, items, ks=_KS
  )
  whole = state.compute()
  slices = state.slices(items)
  of_lengths = slices["history_length"].values()
  assert len(of_lengths) > 2
  assert sum(s["requests"] for s in of_lengths) == _U
  filled = sum(s["share"] * s["filled@6"] for s in of_lengths)
  assert filled == pytest.approx(whole["filled@6"])
  of_items = slices["item_popularity"].values()
  assert sum(s["items"] for s in of_items) == _V
  assert sum(s["requests"] for s in of_items) == (targets > 0).sum()
  for name in ("items", "events", "requests", "places@2", "places@6"):
    total = sum(s[f"share_of_{name}"] for s in of_items)
    assert total == pytest.approx(1)
  for k in _KS:
    coverage = sum(s["share_of_items"] * s[f"coverage@{k}"] for s in of_items)
    assert coverage == pytest.approx(whole[f"coverage@{k}"])
    hits = sum(s["requests"] * s[f"recall@{k}"] for s in of_items)
    assert hits / (targets > 0).sum() == pytest.approx(whole[f"recall@{k}"])


def test_cold_items_are_a_slice_of_their_own():
  items = _items()
  cold = items.counts.events_V1[1:] == 0
  shown = 1 + np.flatnonzero(cold)[:2]
  nobody = [np.zeros(0, np.int32)]
  state = BeyondAccuracyMetrics.from_batch(
    shown[None], shown[:1], nobody, items, ks=(2,)
  )
  figures = state.slices(items)["item_popularity"]
  first = figures.pop("cold: 0 training events")
  assert first["share_of_places@2"] == first["recall@2"] == 1
  assert first["coverage@2"] == pytest.approx(2 / cold.sum())
  assert first["share_of_events"] == 0
  for other in figures.values():
    assert other["share_of_places@2"] == other["requests"] == 0
    assert other["recall@2"] is None


def test_group_lift_is_that_of_the_sums():
  items = _items()
  lists, targets, histories = _batch()
  state = BeyondAccuracyMetrics.from_batch(
    lists, targets, histories, items, ks=_KS
  )
  columns = state.values()
  both = ~np.isnan(columns["lift@2"])
  assert 0 < both.sum() < _U
  after, before = columns["arp@2"][both], columns["history_arp"][both]
  assert state.compute()["group_lift@2"] == pytest.approx(
    after.mean() / before.mean() - 1
  )
  assert state.compute()["lift@2"] == pytest.approx(
    np.mean((after - before) / before)
  )
  assert state.counted()["lift@2"] == both.sum()


def test_without_content_its_metrics_are_absent():
  lists, targets, histories = _batch()
  longer = np.tile(lists, 2)
  found = [
    set(
      BeyondAccuracyMetrics.from_batch(longer, targets, histories, i).compute()
    )
    for i in (_items(), _items(False), _items(categories=False))
  ]
  assert found[0] - found[1] == {"ild@10", "redundancy@10"}
  assert found[0] - found[2] == {"miscalibration@10"}


def test_nothing_measured_is_nothing_defined():
  items = _items()
  state = BeyondAccuracyMetrics.empty(items, _KS)
  computed = state.compute()
  assert computed.pop("coverage@2") == computed.pop("coverage@6") == 0
  assert set(computed.values()) == {None}
  assert state.slices(items)["history_length"] == {}


def test_what_does_not_fit_is_refused():
  items = _items()
  lists, targets, histories = _batch()
  with pytest.raises(ValueError, match="40 targets and 39 histories"):
    BeyondAccuracyMetrics.from_batch(lists, targets, histories[1:], items)
  with pytest.raises(ValueError, match="fetch 10 places"):
    BeyondAccuracyMetrics.from_batch(lists, targets, histories, items)
  one = BeyondAccuracyMetrics.empty(items, (2,))
  with pytest.raises(ValueError, match="'arp@3'"):
    one.merge(BeyondAccuracyMetrics.empty(items, (3,)))
  with pytest.raises(ValueError, match="vectors_V1D has 3 rows for 30"):
    ItemFacts(items.counts, np.zeros((3, 2)))
  with pytest.raises(ValueError, match="not finite"):
    ItemFacts(items.counts, np.full((_V + 1, 2), np.nan))
  with pytest.raises(ValueError, match="0 or more"):
    ItemFacts(items.counts, None, np.full((_V + 1, 2), -1.0))
