# SPDX-License-Identifier: Apache-2.0
"""Unknown times keep a bucket of their own beside any known ones.

Models subtract the times of a batch in int32. Here that is done for all pairs
of an example, with times at the borders of what int32 holds.
"""

import dataclasses

from hypothesis import given, strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.actions import ActionOriented, Fused, Interleaved
from genrec_jax.data.layouts.joint import JointActionOriented, JointInterleaved
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.data.layouts.request_events import (
  UNKNOWN_TIME,
  RequestEvents,
  measurable,
)
from genrec_jax.ops.time_buckets import time_buckets
from tests.data.layouts.requests_by_hand import (
  ACTIONS,
  FEEDBACK,
  OneUser,
  bound,
  user_record,
)

_MAX, _YEAR = 2**31 - 1, 365 * 86_400
# The last request, and how long before it the first event with a time was.
_CASES = [
  *((80, 70), (2 * _YEAR, 70), (2**30 - 2, 70), (2**30 - 2, 31 * _YEAR)),
  *((2**30 - 1, 70), (2**30, 70), (2**30, 2**30), (2**30 + 7, 35 * _YEAR)),
  *((_MAX, 70), (_MAX, _MAX), (_MAX, 2**30)),
  *((-5, 70), (-(2**31) + 70, 70), (40, 80)),
]
_LAYOUTS = (
  *(Interleaved, ActionOriented, Fused),
  *(JointInterleaved, JointActionOriented),
)


def _record(last, span):
  """Two events of a list without times, then six with, the last at `last`."""
  first = last - span
  time = [first, first, first, first + 1, first + 30, last - 1, last, last]
  return {**user_record(), "time": np.array(time, np.int32)}


def _check(time, query_time, record):
  """Buckets of all pairs of query and key, as devices have them."""
  known, asked = time != UNKNOWN_TIME, query_time != UNKNOWN_TIME
  seconds = query_time[:, None] - time[None, :]
  assert seconds.dtype == np.int32
  buckets = np.asarray(time_buckets(jnp.asarray(seconds)))
  both = asked[:, None] & known[None, :]
  one = asked[:, None] ^ known[None, :]
  assert one.any() and both.any()
  assert buckets[one].min() > buckets[both].max()
  assert (buckets[~both & ~one] == 0).all()
  # What is known stays what it was, up to the ends of what can be told.
  told = np.clip(record["time"], 0, 10**9)
  assert set(time[known].tolist()) <= set(told.tolist())


@pytest.mark.parametrize("kind", _LAYOUTS)
@pytest.mark.parametrize(("last", "span"), _CASES)
def test_buckets_of_every_layout(kind, last, span):
  record = _record(last, span)
  for layout in (
    kind(FEEDBACK, 8, 2),
    kind(FEEDBACK, 8, 2, history_loss=True, context=("age",)),
  ):
    layout = bound(layout)
    source = layout.source(OneUser(record, 8))
    example = source[len(source) - 1]
    rows = layout.example(example, source.split.train_end(example))
    names = ("time", "query_time")
    _check(*(rows[:, PLACE[n]] for n in names), record)
    history = {k: v if k == "user" else v[:6] for k, v in record.items()}
    zeros = np.zeros((1, 2), np.int32)
    batch = layout.impression_batch(
      Impressions(
        user=np.zeros(1, np.int32),
        history=[history],
        query_time=np.array([last], np.int32),
        candidates=zeros + 7,
        labels=zeros,
        known=zeros > 0,
        event=zeros - 1,
      )
    )
    real = batch["segment_ids_BL"] > 0
    _check(*(batch[f"{n}_BL"][real] for n in names), record)
    if not hasattr(layout, "request_batch"):
      continue
    requests = make_requests([(record, 6)])
    time = np.array([last], np.int32)
    requests = dataclasses.replace(requests, query_time=time)
    batch = layout.request_batch(requests)
    real = batch["segment_ids_BL"] > 0
    _check(*(batch[f"{n}_BL"][real] for n in names), record)


def test_times_that_are_unknown_or_ordinary_stay():
  nobody = np.full(3, UNKNOWN_TIME, np.int32)
  assert measurable(nobody).tolist() == nobody.tolist()
  some = np.array([UNKNOWN_TIME, 0, 10**9, 3], np.int32)
  assert measurable(some).tolist() == some.tolist()


@given(st.lists(st.integers(-(2**31), _MAX), min_size=1, max_size=8))
def test_each_time_is_read_alone(times):
  times = np.array(times, np.int32)
  alone = [measurable(times[i : i + 1])[0] for i in range(len(times))]
  assert measurable(times).tolist() == alone


def test_gaps_beyond_int32_are_its_largest_number():
  record = _record(_MAX, _MAX)
  record["time"][2:5] = -(2**31) + 1
  bound_feedback = FEEDBACK.bind(ACTIONS)
  found = RequestEvents.of(record, 8, 8, bound_feedback, bound_feedback)
  assert found.gap.min() >= -1 and found.gap.max() == _MAX
  first = RequestEvents.of(record, 3, 8, bound_feedback, bound_feedback)
  assert first.gap_to(_MAX) == _MAX
