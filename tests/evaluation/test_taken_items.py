# SPDX-License-Identifier: Apache-2.0
"""Recall of what was taken, by how long it was watched, against loops."""

import dataclasses
import math

import numpy as np
import pytest

from genrec_jax.data.dataset import Feedback
from genrec_jax.data.features import WatchPercentiles
from genrec_jax.data.features.watch_percentiles import FittedPercentiles
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.evaluation.taken_items import (
  TakenRanks,
  head_items,
  request_values,
)
from genrec_jax.evaluation.taken_requests import taken_requests
from genrec_jax.metrics.ranking import MISS

_ACTIONS = ["", "skip", "click", "untimed"]


class _Split:
  def targets(self, record, part):
    size = len(record["item"])
    middle = size - 3
    places = range(middle, size) if part == "test" else range(2, middle)
    return np.array([*places], np.int32)

  def train_end(self, record):
    return 2


class _Histories:
  split = _Split()

  def __len__(self):
    return 9

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    size = 5 + user
    return {
      "user": np.array(user, np.int32),
      "item": rng.integers(1, 30, size).astype(np.int32),
      "time": np.sort(rng.integers(0, 99, size)).astype(np.int32),
      "action": rng.integers(0, 4, size).astype(np.int32),
      "request": np.cumsum(rng.random(size) < 0.6).astype(np.int32),
    }


def _watched():
  none = np.zeros(0, np.float32)
  return dataclasses.replace(
    Watched(WatchPercentiles("seconds"), ("click",)),
    fitted=FittedPercentiles(np.zeros(1, np.int64), none, none),
    feedback=Feedback(("click",)).bind(_ACTIONS),
  )


@pytest.mark.parametrize("part", ["validation", "test"])
def test_requests_are_for_what_was_taken_and_end_where_they_were_made(part):
  histories, expected = _Histories(), []
  for user in range(9):
    record = histories[user]
    request = record["request"].tolist()
    for place in histories.split.targets(record, part):
      first = request.index(request[place])
      if _ACTIONS[record["action"][place]] == "click" and first > 0:
        seen = tuple(record["item"][:first].tolist())
        target, time = record["item"][place], record["time"][first]
        expected.append((user, int(place), int(target), seen, int(time)))
  found = []
  for batch in taken_requests(histories, _watched(), part, 2):
    assert len(batch) <= 2
    for i in range(len(batch)):
      seen = tuple(batch.history[i]["item"].tolist())
      whose = int(batch.user[i]), int(batch.event[i])
      asked = int(batch.target[i]), seen, int(batch.query_time[i])
      found.append((*whose, *asked))
  assert found == expected and len(found) > 5
  some = taken_requests(histories, _watched(), part, 64, max_users=2, seed=3)
  users = {int(u) for batch in some for u in batch.user}
  assert len(users) == 2


def test_weighted_recall_is_the_share_of_time_that_was_found():
  rng = np.random.default_rng(1)
  ranks = rng.choice([1, 2, 3, 11, MISS], 40).astype(np.int32)
  watched = rng.integers(0, 5, 40).astype(np.float64)
  q = rng.random(40)
  found = request_values(ranks, watched, q, (1, 10))
  for k in (1, 10):
    hits = [r <= k for r in ranks]
    for name, weight in (
      ("recall", [1.0] * 40),
      ("watched_recall", watched),
      ("percentile_recall", q),
    ):
      share = sum(w for w, h in zip(weight, hits, strict=True) if h)
      share /= sum(weight)
      assert math.isclose(found[f"{name}@{k}"].mean(), share, rel_tol=1e-12)
  none = request_values(ranks, 0 * watched, q, (1,))["watched_recall@1"]
  assert not none.any()


def test_the_head_is_the_tenth_with_the_most_events():
  count = np.array(
    [0, 3, 9, 1, 9, 2, 2, 0, 0, 0, 0, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1]
  )
  assert np.flatnonzero(head_items(count)).tolist() == [2, 4]


def test_what_is_kept_comes_back(tmp_path):
  columns = {
    "test/ranks/model": np.array([1, 3, MISS], np.int32),
    "test/watched": np.array([1.0, 2.0, 0.0]),
    "test/percentile": np.array([0.5, 1.0, 0.0]),
    "test/users": np.array([0, 0, 2]),
    "test/events": np.array([4, 5, 4]),
  }
  TakenRanks("data", columns).save(tmp_path / "taken.npz")
  kept = TakenRanks.load(tmp_path / "taken.npz")
  assert kept.fingerprint == "data"
  found = kept.values("test", "model", (2,))
  np.testing.assert_allclose(found["watched_recall@2"].mean(), 1 / 3)
