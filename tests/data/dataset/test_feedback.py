# SPDX-License-Identifier: Apache-2.0
"""Actions as bits of tasks, and what is known of an event."""

import numpy as np
import pytest

from genrec_jax.data.dataset.feedback import Feedback

_ACTIONS = ["", "click|long_view", "like|untimed", "skip", "untimed"]


def _record(action=(), value=None):
  record = {
    "user": np.array(0, np.int32),
    "item": np.arange(1, len(action) + 1, dtype=np.int32),
    "action": np.array(action, np.int32),
  }
  if value is not None:
    record["value"] = np.array(value, np.float32)
  return record


def test_bit_t_is_task_t_whatever_the_order_of_words():
  record = _record([0, 1, 2, 3, 4])
  bound = Feedback(("long_view", "like", "click")).bind(_ACTIONS)
  assert bound.num_tasks == 3
  assert bound.bits(record).tolist() == [0, 0b101, 0b010, 0, 0]
  assert bound.bits(record).dtype == np.int32
  assert bound.known(record).tolist() == [False, True, True, True, True]
  assert bound.untimed(record).tolist() == [False, False, True, False, True]
  assert bound.asked(record).tolist() == [False, True, False, True, False]


def test_a_word_within_a_word_is_not_that_word():
  bound = Feedback(("view",)).bind(["", "long_view", "view"])
  assert bound.bits(_record([1, 2])).tolist() == [0, 1]


def test_a_value_makes_one_task_and_no_value_is_not_known():
  record = _record([0, 0, 0, 0], [3.5, 4.0, 5.0, np.nan])
  del record["action"]
  bound = Feedback(("liked",), min_value=4.0).bind([""])
  assert bound.bits(record).tolist() == [0, 1, 1, 0]
  assert bound.known(record).tolist() == [True, True, True, False]
  assert not bound.untimed(record).any()


def test_wrong_tasks_are_named():
  with pytest.raises(ValueError, match="no action 'clik'.*'click'"):
    Feedback(("clik",)).bind(_ACTIONS)
  with pytest.raises(ValueError, match="'click'. It has none"):
    Feedback(("click",)).bind([""])
  for tasks in ((), ("a", "a"), tuple(f"t{i}" for i in range(32))):
    with pytest.raises(ValueError, match="tasks"):
      Feedback(tasks)
  with pytest.raises(ValueError, match="a value makes one task"):
    Feedback(("a", "b"), min_value=4.0)


def test_records_without_what_is_asked_for_say_so():
  record = {"user": np.array(0, np.int32), "item": np.ones(2, np.int32)}
  with pytest.raises(ValueError, match="no values"):
    Feedback(("liked",), min_value=4.0).bind([""]).bits(record)
  with pytest.raises(ValueError, match="no actions"):
    Feedback(("click",)).bind(_ACTIONS).known(record)
