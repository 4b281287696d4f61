# SPDX-License-Identifier: Apache-2.0
"""What a step asks for: a function of the step, every user once an epoch."""

import numpy as np
import pytest

from genrec_jax.data import LeaveOneOut
from genrec_jax.rollout.training_requests import TrainingRequests


class _Histories:
  """Users of 1 to 9 events; the items of user u are 100 u + place."""

  split = LeaveOneOut()

  def __init__(self, lengths):
    self.lengths = lengths

  def __len__(self):
    return len(self.lengths)

  def __getitem__(self, user):
    items = 100 * user + np.arange(self.lengths[user])
    return {"user": np.array(user, np.int32), "item": items.astype(np.int32)}


def test_an_epoch_asks_every_user_once_for_a_training_event():
  histories = _Histories([1, 2, 3, 4, 9, 12])
  asked = TrainingRequests(histories, 2, seed=7)
  # Of users 0, 2 no training event has a history.
  known = {1: 2, 3: 2, 4: 7, 5: 10}
  users, events = [], set()
  for step in range(400):
    found = asked.at(step)
    users += found.user.tolist()
    for user, event, target, history in zip(
      found.user, found.event, found.target, found.history, strict=True
    ):
      assert 1 <= event < known[int(user)]
      assert target == 100 * user + event
      np.testing.assert_array_equal(
        history["item"], 100 * user + np.arange(event)
      )
      events.add((int(user), int(event)))
  epochs = np.array(users).reshape(-1, 4)
  assert (np.sort(epochs, axis=1) == sorted(known)).all()
  assert len({tuple(e) for e in epochs}) > 5
  assert len(events) == sum(end - 1 for end in known.values())


def test_a_step_asks_the_same_whenever_it_is_asked():
  histories = _Histories([5] * 7)
  whole = TrainingRequests(histories, 3, seed=7)
  straight = [whole.at(step) for step in range(9)]
  late = TrainingRequests(histories, 3, seed=7).at(8)
  np.testing.assert_array_equal(late.user, straight[8].user)
  np.testing.assert_array_equal(late.event, straight[8].event)
  other = TrainingRequests(histories, 3, seed=8)
  assert any(
    other.at(s).user.tolist() != straight[s].user.tolist() for s in range(9)
  )


def test_without_a_history_there_is_nothing_to_ask():
  with pytest.raises(ValueError, match="two events in the training part"):
    TrainingRequests(_Histories([1, 1, 3]), 3, seed=0)


class _Baskets(_Histories):
  """Events by threes at a time; the first of a basket is a multiple of 3."""

  def __getitem__(self, user):
    record = super().__getitem__(user)
    time = np.arange(self.lengths[user]) // 3
    return {**record, "time": time.astype(np.int32)}


def test_of_a_moment_the_first_event_alone_is_asked_for():
  asked = TrainingRequests(_Baskets([4, 9, 13]), 2, seed=7, moments=True)
  events = {}
  for step in range(60):
    found = asked.at(step)
    for user, event in zip(found.user, found.event, strict=True):
      events.setdefault(int(user), set()).add(int(event))
  # Of user 0 the second basket is held out.
  assert events == {1: {3, 6}, 2: {3, 6, 9}}
  with pytest.raises(ValueError, match="two moments in the training part"):
    TrainingRequests(_Baskets([3, 4]), 2, seed=7, moments=True)
  with pytest.raises(ValueError, match="moments=True reads times"):
    TrainingRequests(_Histories([9]), 2, seed=7, moments=True)
