# SPDX-License-Identifier: Apache-2.0
"""Events that were over at a moment, against a loop over the log."""

import numpy as np
import pytest

from genrec_jax.data.dataset.event_index import NONE, EventIndex

_GROUPS = 4


def _log(rng, count=60):
  """Few moments, so that many events are at one, and of some before 0."""
  return (
    rng.integers(0, _GROUPS, count),
    rng.integers(-3, 9, count).astype(np.int32),
    np.arange(1, count + 1),
  )


def _before(log, group, time):
  """Names of the events of a group before a moment, oldest first."""
  found = [(t, e) for g, t, e in zip(*log, strict=True) if g == group]
  return [e for t, e in sorted(found) if t < time]


def _lookups(rng, count=50):
  return rng.integers(0, _GROUPS + 1, count), rng.integers(-5, 12, count)


@pytest.mark.parametrize("seed", range(5))
def test_the_newest_are_those_of_a_loop(seed):
  rng = np.random.default_rng(seed)
  log = _log(rng)
  index = EventIndex.of(*log[:2], event=log[2])
  groups, times = _lookups(rng)
  found = index.columns["event"][index.last(groups, times, 4)]
  for n, (group, time) in enumerate(zip(groups, times, strict=True)):
    before = _before(log, group, time)
    newest = before[-4:]
    assert found[n].tolist() == newest + [0] * (4 - len(newest))
    assert index.counts(groups, times)[n] == len(before)


def test_exchanged_columns_are_the_transposed_log():
  """Twice exchanged is the log itself; once, lists of the other side."""
  rng = np.random.default_rng(0)
  user, time, _ = _log(rng)
  item = rng.integers(0, _GROUPS, len(user))
  by_item = EventIndex.of(item, time, other=user)
  swapped = {"user": item, "item": user}
  again = EventIndex.of(swapped["user"], time, other=swapped["item"])
  groups, times = _lookups(rng)
  np.testing.assert_array_equal(
    by_item.columns["other"][by_item.last(groups, times, 5)],
    again.columns["other"][again.last(groups, times, 5)],
  )
  by_user = EventIndex.of(user, time, other=item)
  assert (by_user.columns["other"] != by_item.columns["other"]).any()


def test_a_draw_is_of_the_past_even_and_the_same_again():
  count, length = 7, 3
  index = EventIndex.of(
    np.zeros(count + 2, int), np.arange(count + 2), event=np.arange(count + 2)
  )
  group, time = np.zeros(1, int), np.full(1, count)
  drawn = []
  for seed in range(700):
    (place,) = index.last(group, time, length, seed=seed)
    np.testing.assert_array_equal(
      index.last(group, time, length, seed=seed)[0], place
    )
    assert (np.diff(place) > 0).all() and place.max() < count
    drawn.append(place)
  # Each of 7 is in 3 / 7 of the draws: 300 of 700, standard deviation 13.
  times = np.bincount(np.concatenate(drawn), minlength=count)
  assert (abs(times - 300) < 4 * 13).all()
  # Of no more than there is room for, all.
  few = index.last(group, np.full(1, length), length, seed=1)
  np.testing.assert_array_equal(few, [[0, 1, 2]])


def test_what_comes_later_changes_nothing():
  rng = np.random.default_rng(1)
  group, time, event = _log(rng)
  index = EventIndex.of(group, time, event=event)
  late = time >= 4
  keep = ~late | (rng.random(len(time)) < 0.5)
  other = EventIndex.of(
    np.where(late, rng.integers(0, _GROUPS, len(time)), group)[keep],
    time[keep],
    event=event[keep],
  )
  groups = np.arange(_GROUPS)
  for seed in (None, 3):
    options = {"length": 3, "seed": seed}
    mine = index.last(groups, np.full(_GROUPS, 4), **options)
    theirs = other.last(groups, np.full(_GROUPS, 4), **options)
    np.testing.assert_array_equal(
      index.columns["event"][mine], other.columns["event"][theirs]
    )


def test_no_events_and_moments_beyond_all():
  nothing = np.zeros(0, np.int32)
  index = EventIndex.of(nothing, nothing, event=nothing)
  place = index.last(np.array([0, 5]), np.array([0, 2**31]), 2)
  assert (place == NONE).all() and not index.columns["event"][place].any()
  index = EventIndex.of(np.array([0, 1]), np.array([5, 5]))
  # A window of centuries ends within its own group.
  ends = index.ends(np.array([1, 1]), np.array([-(2**40), 2**40]))
  assert ends.tolist() == [1, 2]


def test_a_column_of_another_length_is_refused():
  with pytest.raises(ValueError, match="column 'user' has 3 events, and"):
    EventIndex.of(np.zeros(2, int), np.zeros(2, int), user=np.zeros(3, int))
