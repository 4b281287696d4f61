# SPDX-License-Identifier: Apache-2.0
"""What a window shows of a history: by hand, by group, and in part."""

import dataclasses

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features.encoders import Vocabulary
from genrec_jax.data.features.features import Feature
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts import (
  PointwiseRows,
  StochasticLength,
  SuffixLength,
)
from genrec_jax.data.layouts.history_window import HistoryWindow
from tests.data.layouts.parts_by_hand import ModelByHand

_ACTIONS = ["", "skip", "click", "click|untimed"]
_SHOWN = Feedback(("click",)).bind(_ACTIONS)


def _record(count=9):
  return {
    "user": np.array(3, np.int32),
    "item": np.arange(1, count + 1, dtype=np.int32),
    "time": np.cumsum(np.arange(count)).astype(np.int32) * 10,
    "action": np.array([3, *[1, 2] * 9][:count], np.int32),
    "request": np.arange(count, dtype=np.int32),
  }


@settings(max_examples=100, deadline=None)
@given(
  end=st.integers(0, 40),
  length=st.integers(1, 12),
  group=st.integers(1, 6),
)
def test_a_window_is_the_longest_that_begins_with_a_group(end, length, group):
  group = min(group, length)
  shown = HistoryWindow(length, group).events(_record(40), end)
  starts = [
    s for s in range(0, end + 1) if s % group == 0 and end - s <= length
  ]
  # A history that has just filled its groups shows all of them.
  assert shown.tolist() == [*range(min(starts, default=end), end)]


def test_columns_by_hand():
  record = _record()
  moments = Moments.of_events(record, np.array([2, 6]))
  for seconds, expected in (
    ("request", ([-1, 20, 0, 0], [180, 150, 110, 60])),
    ("before", ([-1, -1, 0, 0], [20, 30, 40, 50])),
    ("", None),
  ):
    window = HistoryWindow(4, seconds=seconds)
    rows = np.zeros((2, window.num_columns), np.int32)
    window.fill(rows, moments, _SHOWN)
    found = window.split(rows[None])
    np.testing.assert_array_equal(
      found["item"][0], [[1, 2, 0, 0], [3, 4, 5, 6]]
    )
    np.testing.assert_array_equal(
      found["action"][0], [[1, 0, 0, 0], [1, 0, 1, 0]]
    )
    assert ("seconds" in found) == bool(seconds)
    if seconds:
      np.testing.assert_array_equal(found["seconds"][0], expected)


def test_without_times_nothing_is_known_of_them():
  record = {k: v for k, v in _record().items() if k != "time"}
  window = HistoryWindow(4, seconds="request")
  rows = np.zeros((1, window.num_columns), np.int32)
  window.fill(rows, Moments.of_events(record, np.array([2])), _SHOWN)
  assert window.split(rows[None])["seconds"][0].tolist() == [[-1, -1, 0, 0]]


@settings(max_examples=100, deadline=None)
@given(
  end=st.integers(0, 60),
  group=st.integers(1, 5),
  seed=st.integers(0, 5),
)
def test_a_suffix_is_the_last_events_and_begins_with_a_group(end, group, seed):
  window = HistoryWindow(20, group, sampler=SuffixLength(0.5, 0.5))
  shown = window.events(_record(60), end, np.random.default_rng(seed))
  assert shown.tolist() == [*range(end - len(shown), end)]
  assert len(shown) <= 20 and (len(shown) or not end)
  assert not len(shown) or shown[0] % group == 0
  whole = HistoryWindow(20, group).events(_record(60), end)
  assert window.events(_record(60), end).tolist() == whole.tolist()


def test_the_length_of_suffixes_is_u_shaped_about_its_mean():
  sampler, rng = SuffixLength(), np.random.default_rng(0)
  ages = np.zeros(10_000)
  lengths = np.array(
    [len(sampler.select(ages, 10_000, rng)) for _ in range(2_000)]
  )
  assert sampler.mean_share == pytest.approx(0.2)
  # The deviation of a mean of 2,000 is .9 %.
  assert lengths.mean() / 10_000 == pytest.approx(0.2, abs=0.03)
  assert (lengths < 500).mean() + (lengths > 9_500).mean() > 0.85
  # A shorter history is kept as far as it goes.
  few = [len(sampler.select(ages[:100], 10_000, rng)) for _ in range(200)]
  assert max(few) == 100 and min(few) == 1


def test_stochastic_length_shows_a_part_in_order():
  window = HistoryWindow(40, sampler=StochasticLength(1.0))
  rng = np.random.default_rng(0)
  shown = [window.events(_record(40), 40, rng) for _ in range(20)]
  assert {len(x) for x in shown} <= {6, 40} and min(map(len, shown)) == 6
  assert all((np.diff(x) > 0).all() for x in shown)
  assert len({tuple(x) for x in shown}) > 2


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"group": 0}, "history_group=0 must be at least 1"),
    ({"group": 5}, "history_group=5 .* at most history_length=4"),
    ({"seconds": "befor"}, "'befor' is unknown. Did you mean 'before'"),
    (
      {"group": 2, "sampler": StochasticLength(1.6)},
      "leaves events out within groups: take layouts.SuffixLength",
    ),
  ],
)
def test_windows_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    HistoryWindow(4, **options)


def test_suffixes_are_checked():
  node = {"name": "layouts.SuffixLength", "alpha": 0.0}
  with pytest.raises(
    ValueError, match=r"stochastic_length\.alpha=0\.0 must be"
  ):
    build(node)


_LAYOUT = PointwiseRows(
  features=(
    Feature("item.id", Vocabulary(8)),
    Feature("context.hour", Vocabulary(24)),
    Feature("user.id", Vocabulary(8)),
    Feature("affinity.id", Vocabulary(8)),
  ),
  history_features=("item.id",),
  feedback=Feedback(("click",)),
  max_length=3,
  history_length=4,
  num_candidates=2,
)


def _says(**changes):
  own = ("feature_rows", "history_columns", "num_actions", "num_tasks")
  return ModelByHand(**{n: getattr(_LAYOUT, n) for n in own} | changes)


def _long(**changes):
  return _says(
    **{
      "request_columns": (1, 2),
      "history_group": 1,
      "history_seconds": "",
      "max_history": 4,
    }
    | changes
  )


def test_features_of_user_and_moment_are_told_apart():
  assert _LAYOUT.request_columns == (1, 2)
  _LAYOUT.check_system(_long())


@pytest.mark.parametrize(
  ("system", "changes", "message"),
  [
    (_long(request_columns=(1,)), {}, r"request_columns=\(1,\), .* \(1, 2\)"),
    (_long(history_group=2), {}, "history_group=2, .* make it 1"),
    (_long(), {"history_seconds": "request"}, "history_seconds=, .* request"),
    (_long(max_history=3), {}, "history_length=4 is more than the 3 events"),
    (
      _says(),
      {"one_request": True},
      "one_request=True gives a history to each",
    ),
  ],
)
def test_systems_that_read_histories_otherwise(system, changes, message):
  layout = dataclasses.replace(_LAYOUT, **changes)
  with pytest.raises(ValueError, match=message):
    layout.check_system(system)
