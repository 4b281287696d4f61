# SPDX-License-Identifier: Apache-2.0
"""The evaluation against a direct count on dense scores, and its edges."""

import dataclasses

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.evaluation.full_ranking import (
  asked_at_last_event,
  evaluate,
  history_mask,
)
from genrec_jax.metrics.ranking import MISS
from genrec_jax.metrics.slices import COLD, LATER


def _requests(histories, targets, first_user=0, times=None) -> Requests:
  count = len(targets)
  return Requests(
    user=np.arange(first_user, first_user + count, dtype=np.int32),
    target=np.array(targets, np.int32),
    history=[
      {
        "item": np.array(h, np.int32),
        "time": np.arange(len(h), dtype=np.int32) * 10,
      }
      for h in histories
    ],
    query_time=np.full(count, 1_000, np.int32) if times is None else times,
    event=np.array([len(h) for h in histories], np.int32),
  )


def _dense_search(table_UV1):
  """A ranker that looks scores up by user; numpy only."""

  def search(requests, k, allowed):
    scores = table_UV1[requests.user].astype(np.float32)
    scores[:, 0] = -np.inf
    if allowed is not None:
      scores[~allowed.dense()] = -np.inf
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int32)
    scores = np.take_along_axis(scores, ids, axis=1)
    return np.where(scores == -np.inf, 0, ids), scores, {}

  return search


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), filtered=st.booleans(), v=st.integers(2, 9))
def test_equals_counting_over_the_catalogue(seed, filtered, v):
  rng = np.random.default_rng(seed)
  users = 7
  table = rng.integers(0, 4, (users, v + 1))  # Many ties.
  histories = [rng.integers(1, v + 1, rng.integers(0, 4)) for _ in range(users)]
  targets = rng.integers(1, v + 1, users)
  batches = [
    _requests(histories[low : low + 3], targets[low : low + 3], low)
    for low in range(0, users, 3)
  ]
  ks = (1, 3, 5)
  result = evaluate(
    _dense_search(table),
    batches,
    num_items=v,
    ks=ks,
    filter_history=filtered,
  )
  expected = []
  for user, (history, target) in enumerate(
    zip(histories, targets, strict=True)
  ):
    hidden = set(history.tolist()) if filtered else set()
    at_least = [
      j
      for j in range(1, v + 1)
      if j not in hidden and table[user, j] >= table[user, target]
    ]
    rank = MISS if target in hidden else len(at_least)
    expected.append(rank if rank <= max(ks) else MISS)
  np.testing.assert_array_equal(result.ranks_R, expected)
  for k in ks:
    hit = np.mean(np.array(expected) <= k)
    assert result.metrics[f"hr@{k}"] == pytest.approx(hit)
  assert result.num_requests == result.num_users == users
  np.testing.assert_array_equal(result.users_R, np.arange(users))
  np.testing.assert_array_equal(result.events_R, [len(h) for h in histories])
  repeats = [t in h for h, t in zip(histories, targets, strict=True)]
  np.testing.assert_array_equal(result.repeats_R, repeats)


def test_a_constant_scorer_gets_no_hits():
  requests = [_requests([[1]] * 50, [2] * 50)]
  table = np.zeros((50, 41))
  result = evaluate(_dense_search(table), requests, num_items=40, ks=(1, 10))
  assert set(result.metrics.values()) == {0.0}


def test_a_repeated_target_is_a_miss_only_when_filtered():
  requests = [_requests([[2, 3]], [3])]
  table = np.array([[0, 1, 2, 3]])
  for filtered, hit in ((True, 0.0), (False, 1.0)):
    result = evaluate(
      _dense_search(table),
      requests,
      num_items=3,
      ks=(1,),
      filter_history=filtered,
    )
    assert result.metrics["hr@1"] == hit
    assert result.repeats_R.tolist() == [True]


def test_history_mask_hides_every_earlier_event_and_the_pad():
  mask = history_mask(_requests([[1, 1, 4], []], [2, 2]), 4)
  np.testing.assert_array_equal(
    mask.dense(),
    [[False, False, True, True, False], [False, True, True, True, True]],
  )


def test_slices_partition_the_requests():
  rng = np.random.default_rng(0)
  counts = np.array([0, 0, 1, 1, 3, 9, 50, 400], np.int64)
  histories = [rng.integers(1, 8, n) for n in rng.integers(0, 80, 60)]
  requests = _requests(histories, rng.integers(1, 8, 60))
  result = evaluate(
    _dense_search(rng.random((60, 8))),
    [requests],
    num_items=7,
    ks=(1, 5),
    filter_history=False,
  )
  slices = result.slices(counts)
  by_time = slices.pop("since_last_event")
  assert set(slices) == {"history_length", "item_popularity"}
  for kind in slices.values():
    assert sum(part["requests"] for part in kind.values()) == 60
    assert sum(part["share"] for part in kind.values()) == pytest.approx(1)
    mean = sum(part["hr@5"] * part["share"] for part in kind.values())
    assert mean == pytest.approx(result.metrics["hr@5"])
  cold = slices["item_popularity"][COLD]
  assert cold["requests"] == (requests.target == 1).sum()
  # Indices 1 to 7 have 0, 1, 1, 3, 9, 50 and 400 events; 0 is the pad.
  assert cold["items"] == 1
  assert sum(p["items"] for p in slices["item_popularity"].values()) == 7
  top = slices["item_popularity"]["10-400 training events"]
  assert top["requests"] == (requests.target >= 6).sum()
  # Without an earlier event there is nothing to be later than.
  assert list(by_time) == ["under a day"]
  assert by_time["under a day"]["requests"] == sum(
    len(h) > 0 for h in histories
  )


def test_targets_a_day_or_more_later_are_a_slice_of_their_own():
  day = 86_400
  times = np.array([10 + day - 1, 10 + day, 10 + 9 * day], np.int32)
  requests = _requests([[1, 2]] * 3, [3, 3, 4], times=times)
  table = np.array([[0, 1, 1, 9, 2, 2]] * 3)
  result = evaluate(
    _dense_search(table), [requests], num_items=5, ks=(1,), filter_history=True
  )
  assert result.gaps_R.tolist() == [day - 1, day, 9 * day]
  slices = result.slices(np.ones(6, np.int64))["since_last_event"]
  found = {
    name: (part["requests"], part["hr@1"]) for name, part in slices.items()
  }
  assert found == {"under a day": (1, 1.0), LATER: (2, 0.5)}


def test_slices_by_action_count_a_target_with_several_in_each():
  requests = _requests([[1]] * 4, [2, 3, 2, 2])
  table = np.array([[0, 1, 9, 2]] * 4)
  result = evaluate(_dense_search(table), [requests], num_items=3, ks=(1,))
  done = [(), ("view",), ("view", "cart"), ("return",)]
  actions = np.array([1, 2, 2, 0]), done
  slices = result.slices(np.ones(4, np.int64), actions)["action"]
  found = {
    name: (part["requests"], part["hr@1"]) for name, part in slices.items()
  }
  assert found == {"view": (3, 2 / 3), "cart": (2, 0.5)}
  assert "action" not in result.slices(np.ones(4, np.int64))


def test_without_times_there_is_no_slice_by_time():
  requests = _requests([[1, 2]], [3])
  untimed = [{"item": record["item"]} for record in requests.history]
  requests = dataclasses.replace(
    requests, history=untimed, query_time=np.zeros(1, np.int32)
  )
  result = evaluate(_dense_search(np.ones((1, 5))), [requests], num_items=4)
  assert "since_last_event" not in result.slices(np.ones(5, np.int64))


def test_asked_at_last_event_uses_no_time_of_the_target():
  requests = _requests([[1, 2], []], [3, 3])
  moved = asked_at_last_event(requests, 5)
  assert moved.query_time.tolist() == [15, 1_000]
  assert moved.query_time.dtype == np.int32


def test_a_time_beyond_int32_is_an_error_and_does_not_wrap():
  requests = _requests([[1, 2]], [3])
  requests.history[0]["time"][-1] = 2**31 - 10
  assert asked_at_last_event(requests, 9).query_time.tolist() == [2**31 - 1]
  with pytest.raises(ValueError, match="the last event and a gap: 2147483648"):
    asked_at_last_event(requests, 10)


@pytest.mark.parametrize("target", [0, 9])
def test_a_target_that_is_no_item_is_refused(target):
  with pytest.raises(ValueError, match=f"has target {target}"):
    evaluate(_dense_search(np.zeros((1, 4))), [_requests([[1]], [target])],
             num_items=3)  # fmt: skip


def test_no_requests_is_an_error():
  with pytest.raises(ValueError, match="no requests"):
    evaluate(_dense_search(np.zeros((1, 4))), [], num_items=3)


def test_a_ranker_of_another_shape_is_refused():
  def search(requests, k, allowed):
    return np.ones((1, 1), np.int32), np.ones((1, 1), np.float32), {}

  with pytest.raises(ValueError, match=r"ids \(1, 1\)"):
    evaluate(search, [_requests([[1]], [2])], num_items=3)
