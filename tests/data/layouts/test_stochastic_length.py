# SPDX-License-Identifier: Apache-2.0
"""Stochastic length costs what its formula says, and only when training."""

import itertools

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.data import splits
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.layouts.stochastic_length import (
  StochasticLength,
  recency_weights,
)
from genrec_jax.data.pipeline.pipeline import training_batches

_ALPHA = StochasticLength(1.6)


def _ages(length):
  return np.arange(length)[::-1].astype(np.float64)


def test_the_published_lengths():
  assert _ALPHA.threshold(4096) == 776
  assert StochasticLength(2.0).threshold(4096) == 4096


def test_a_config_asks_for_it():
  stochastic = {"name": "layouts.StochasticLength"}
  node = {"name": "layouts.NextItem", "max_length": 50}
  node["stochastic_length"] = stochastic | {"alpha": 1.6}
  assert build(node) == _layout()


@pytest.mark.parametrize("alpha", [0.0, -1.0, 2.1])
def test_alpha_is_checked(alpha):
  with pytest.raises(ValueError, match="above 0 and at most 2"):
    StochasticLength(alpha)


@settings(max_examples=50)
@given(
  alpha=st.floats(0.5, 2.0),
  max_length=st.integers(1, 400),
  length=st.integers(0, 400),
  seed=st.integers(0, 3),
)
def test_inputs_keep_their_order_and_none_comes_twice(
  alpha, max_length, length, seed
):
  length = min(length, max_length)
  chosen = StochasticLength(alpha).select(
    _ages(length), max_length, np.random.default_rng(seed)
  )
  threshold = StochasticLength(alpha).threshold(max_length)
  assert len(chosen) in {length, min(length, threshold)}
  assert np.all(np.diff(chosen) > 0)
  assert set(chosen) <= set(range(length))


@pytest.mark.parametrize("length", [20, 35, 60, 100])
def test_the_mean_cost_is_the_formula(length):
  max_length, draws = 100, 4000
  rng = np.random.default_rng(0)
  ages = _ages(length)
  squares = [
    float(len(_ALPHA.select(ages, max_length, rng)) ** 2) for _ in range(draws)
  ]
  expected = _ALPHA.expected_cost(length, max_length)
  error = np.std(squares) / draws**0.5
  assert np.mean(squares) == pytest.approx(expected, abs=4 * error + 1e-9)
  # The paper's bound, and its form: N^alpha (2 - N^alpha / n^2).
  budget = max_length**_ALPHA.alpha
  assert expected < 2 * budget
  if length > _ALPHA.threshold(max_length):
    formula = budget * (2 - budget / length**2)
    assert expected == pytest.approx(formula, rel=0.05)  # threshold: an integer


@pytest.mark.slow
def test_old_inputs_are_drawn_less_often():
  # One input is as old as the nine others together, the newest has age 0.
  ages = np.array([9.0, 1, 1, 1, 1, 1, 1, 1, 2, 0])
  weights = recency_weights(ages)
  np.testing.assert_allclose(weights, 1 - ages / 18)
  single = StochasticLength(1e-3)  # threshold 1: one input is drawn
  rng = np.random.default_rng(0)
  counts = np.zeros(10)
  draws = 20000
  for _ in range(draws):
    chosen = single.select(ages, 10, rng)
    if len(chosen) == 1:
      counts[chosen[0]] += 1
  share = weights / weights.sum()
  error = (share / draws) ** 0.5
  assert np.all(np.abs(counts / counts.sum() - share) < 4 * error)


def test_equal_ages_have_equal_weights():
  np.testing.assert_array_equal(recency_weights(np.zeros(3)), np.ones(3))


class _Histories:
  """20 users of 60 events; event e of user u is item 100 u + e + 1."""

  split = splits.LeaveOneOut()

  def __len__(self):
    return 20

  def __getitem__(self, user):
    events = np.arange(60, dtype=np.int32)
    return {
      "user": np.array(user, np.int32),
      "item": 100 * user + events + 1,
      "time": 1000 * events,
    }

  def __repr__(self):
    return "_Histories()"


def _layout(stochastic_length=_ALPHA):
  return NextItem(50, stochastic_length=stochastic_length)


def _users(count, **kwargs):
  """Items and labels of the first users that the pipeline yields."""
  arguments = {"batch_size": 4, "row_length": 50, "seed": 0} | kwargs
  batches = training_batches(_Histories(), _layout(), **arguments)
  found = []
  while len(found) < count:
    batch = next(batches)
    segments = batch["segment_ids_BL"]
    for row in range(len(segments)):
      for segment in range(1, segments[row].max() + 1):
        here = segments[row] == segment
        found.append({k: v[row][here] for k, v in batch.items()})
  batches.close()
  return found[:count]


def test_training_sees_parts_with_true_labels_in_order():
  users = _users(60)
  lengths = {len(user["item_BL"]) for user in users}
  assert lengths == {_ALPHA.threshold(50), 50}
  for user in users:
    items = user["item_BL"]
    assert np.all(np.diff(items) > 0)
    np.testing.assert_array_equal(user["label_BL"], items + 1)
    np.testing.assert_array_equal(user["query_time_BL"], user["time_BL"] + 1000)
    np.testing.assert_array_equal(user["positions_BL"], np.arange(len(items)))


def test_a_seed_repeats_and_an_epoch_does_not():
  first, again, other = _users(60), _users(60), _users(60, seed=1)
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a["item_BL"], b["item_BL"])
  assert any(
    not np.array_equal(a["item_BL"], b["item_BL"])
    for a, b in zip(first, other, strict=True)
  )
  parts = [tuple(u["item_BL"]) for u in first if len(u["item_BL"]) < 50]
  by_user = itertools.groupby(sorted(parts), key=lambda items: items[0] // 100)
  drawn = [list(group) for _, group in by_user]
  assert any(len(group) > 1 for group in drawn)
  assert all(len(set(group)) == len(group) for group in drawn)


def test_a_restored_iterator_draws_what_it_would_have_drawn():
  def batches():
    return training_batches(
      _Histories(), _layout(), batch_size=4, row_length=50, seed=0
    )

  whole = batches()
  for _ in range(3):
    next(whole)
  state = whole.get_state()
  expected = [next(whole) for _ in range(3)]
  whole.close()
  resumed = batches()
  resumed.set_state(state)
  for batch in expected:
    restored = next(resumed)
    for key, value in batch.items():
      np.testing.assert_array_equal(restored[key], value)
  resumed.close()


def test_requests_are_never_cut():
  whole, cut = NextItem(50), _layout(StochasticLength(0.5))
  for requests in iter_requests(_Histories(), "validation", batch_size=7):
    expected, found = whole.request_batch(requests), cut.request_batch(requests)
    for key, value in expected.items():
      np.testing.assert_array_equal(found[key], value)
    assert np.all((found["segment_ids_BL"] > 0).sum(axis=1) == 50)


def test_without_a_generator_nothing_is_drawn():
  record = _Histories()[0]
  np.testing.assert_array_equal(
    _layout(StochasticLength(0.5)).example(record, 58),
    NextItem(50).example(record, 58),
  )
