# SPDX-License-Identifier: Apache-2.0
"""The label is what was done with one event, at any depth, and nothing else."""

import numpy as np
import pytest

from genrec_jax.data.simulator import LongMemory

_SIZES = {"num_users": 400, "num_items": 40, "length": 32, "asked": 4}


def _asked(simulator):
  """Of everything asked: depth of the event, what was done, label."""
  log = simulator.read()
  assert len(log.events) == simulator.num_users * (
    simulator.length + simulator.asked
  )
  found = []
  for (_,), rows in log.events.group_by(["user"], maintain_order=True):
    item, action = rows["item"].to_list(), rows["action"].to_list()
    past = item[: simulator.length]
    assert all("unasked" in a for a in action[: simulator.length])
    times = rows["timestamp"].to_numpy()
    assert (np.diff(times) >= 0).all()
    assert len({*times[simulator.length :].tolist()}) == 1
    assert rows["request"][-1] == rows["request"][simulator.length]
    for name, label in zip(
      item[simulator.length :], action[simulator.length :], strict=True
    ):
      assert past.count(name) == 1 and label in ("like", "skip")
      place = past.index(name)
      done = action[place].split("|")[0]
      found.append((simulator.length - 1 - place, done == label, label))
  depth, same, label = zip(*found, strict=True)
  return np.array(depth), np.array(same), np.array(label) == "like"


def _auc(scores, label):
  higher = scores[label][:, None] - scores[~label][None]
  return np.mean((higher > 0) + (higher == 0) / 2)


def test_depths_are_even_and_a_short_memory_knows_its_share():
  simulator = LongMemory(seed=1, **_SIZES)
  depth, same, label = _asked(simulator)
  assert same.all() and label.mean() == pytest.approx(0.5, abs=0.05)
  share = np.bincount(depth, minlength=32) / len(depth)
  # 1,600 draws: a share of 1/32 deviates by .0044.
  np.testing.assert_allclose(share, 1 / 32, atol=0.02)
  for window in (8, 32):
    knows = np.where(depth < window, label * 2.0 - 1, 0)
    expected = 1 - (1 - window / 32) ** 2 / 2
    assert _auc(knows, label) == pytest.approx(expected, abs=0.02)
  # The published comparison: the last 50 of 512 events.
  assert 1 - (1 - 50 / 512) ** 2 / 2 == pytest.approx(0.593, abs=0.001)


def test_recent_events_are_asked_for_most_and_labels_may_be_wrong():
  simulator = LongMemory(seed=1, recency=1.0, noise=0.2, **_SIZES)
  depth, same, _ = _asked(simulator)
  assert same.mean() == pytest.approx(0.8, abs=0.04)
  # Four of each user are drawn without replacement: flatter than one.
  newest = (depth == 0).mean()
  weights = simulator.depth_weights()
  assert weights[0] == pytest.approx(0.246, abs=0.001)
  assert 0.15 < newest < weights[0] and newest > 4 * (depth == 31).mean()


def test_a_seed_says_all():
  logs = [LongMemory(seed=s, **_SIZES).read().events for s in (1, 1, 2)]
  assert logs[0].equals(logs[1]) and not logs[0].equals(logs[2])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"asked": 0}, "asked=0 must be at least 1"),
    ({"asked": 33, "num_items": 99}, "asked=33 .* so 32 at most"),
    ({"num_items": 4}, "asked=4 of num_items=4 .* so 3 at most"),
    ({"noise": 0.6}, "noise=0.6 must be at most .5"),
    ({"recency": -1.0}, "recency=-1.0 must be a number of 0 or more"),
  ],
)
def test_tasks_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    LongMemory(**{**_SIZES, **options})
