# SPDX-License-Identifier: Apache-2.0
"""No layout sees what comes after a request, in whatever order requests mix.

For an event that is asked about, everything that happened after its request
began is made up anew: items, actions, times, and which requests they are of.
What the model is given of that event, and of all that it may look back to,
must stay the same.
"""

import dataclasses

from hypothesis import given, settings, strategies as st
import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.features.affinity import affinity
from genrec_jax.data.features.encoders import Percentiles, Vocabulary
from genrec_jax.data.features.features import Feature, FittedFeatures
from genrec_jax.data.features.moments import Clock, context_functions
from genrec_jax.data.layouts.actions import ActionOriented, Fused, Interleaved
from genrec_jax.data.layouts.joint import (
  JointActionOriented,
  JointFused,
  JointInterleaved,
)
from genrec_jax.data.layouts.labelled_events import FIRST
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.layouts.request_columns import NEXT_ITEM, PLACE
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.data.layouts.request_examples import (
  ASKED,
  RequestExamples,
  requests_of,
)
from tests.data.layouts.requests_by_hand import (
  ACTIONS,
  FEATURES,
  FEEDBACK,
  NUM_ITEMS,
  OneUser,
  bound,
)

_BOUND = FEEDBACK.bind(ACTIONS)
# Labels are what is asked, and no input.
_INPUTS = [i for n, i in PLACE.items() if n not in ("label", "labelled",
                                                    NEXT_ITEM)]  # fmt: skip
_LAYOUTS = (
  *(Interleaved, ActionOriented, Fused),
  *(JointInterleaved, JointActionOriented, JointFused),
)
_TIMED_ACTIONS = (1, 2, 3, 4)
# A step of a record's clock: in years, times are moved and cut (`measurable`),
# where a token of the user's attributes has no time.
_CLOCKS = (1, 365 * 86_400)
_CONTEXTS = ((), ("age",))


def test_requests_that_mix_by_hand():
  record = _record([1, 2, 3, 4, 5], [7, 8, 8, 7, 9], [0, 50, 60, 70, 80])
  found = RequestEvents.of(record, 5, 3, _BOUND, _BOUND)
  assert found.item.tolist() == [3, 4, 5]
  # Events 2 and 3 are of requests from before the window.
  assert found.first.tolist() == [0, 0, 2]
  assert found.request_time.tolist() == [50, 0, 80]
  assert found.request.tolist() == [0, 0, 1]
  assert found.gap.tolist() == [-1, -1, 30]
  assert found.num_requests == 2 and found.gap_to(100) == 20
  # Of the window nothing is the last request's.
  found = RequestEvents.of(record, 4, 1, _BOUND, _BOUND)
  assert found.request.tolist() == [0] and found.request_time.tolist() == [0]
  assert found.num_requests == 1 and found.gap_to(100) == 50


def _record(item, request, time, action=None):
  columns = {"item": item, "request": request, "time": time}
  columns["action"] = [2] * len(item) if action is None else action
  record = {name: np.array(x, np.int32) for name, x in columns.items()}
  return {"user": np.array(0, np.int32), **record}


@st.composite
def _records(draw, count=6, clocks=_CLOCKS):
  """Unique items, known actions, requests in any order; the last is alone."""
  request = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
  steps = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
  actions = st.sampled_from(_TIMED_ACTIONS)
  action = draw(st.lists(actions, min_size=count, max_size=count))
  clock = draw(st.sampled_from(clocks))
  items, time = np.arange(1, count + 1), np.cumsum(steps) * clock
  return _record([*items], [*request[:-1], 4], time, action)


def _other_future(record, event, rng):
  """The record with all made up from the event's request on, but for what the
  event is: its item, and when its request was made."""
  numbers = record["request"]
  begin = int(np.flatnonzero(numbers == numbers[event])[0])
  after = np.arange(begin, len(numbers))
  changed = {k: v.copy() for k, v in record.items()}
  size = len(after)
  item = rng.integers(len(numbers) + 1, NUM_ITEMS + 1, size)
  changed["item"][after] = item
  changed["action"][after] = rng.choice(_TIMED_ACTIONS, size)
  # Any earlier request, the event's own, or new ones.
  changed["request"][after] = rng.integers(0, 8, size)
  start = int(record["time"][begin])
  clock = max(c for c in _CLOCKS if not (record["time"] % c).any())
  changed["time"][after] = start + np.cumsum(rng.integers(0, 5, size)) * clock
  changed["item"][event] = record["item"][event]
  for at in (begin, event):
    changed["request"][at] = numbers[event]
  changed["time"][begin] = start
  if begin and (changed["request"][:begin] == numbers[event]).any():
    raise AssertionError("the request began earlier")
  return changed


def _asked(layout, record, end, asked):
  """What the model is given of the events that are asked about, by item."""
  begin = {"asked": np.array(asked), "begin": np.array(end, np.int32)}
  rows = layout.example({**record, **begin, "piece": 0}, end)
  found = {}
  for row in rows[rows[:, PLACE["labelled"]] > 0]:
    inputs = [*_INPUTS, *range(len(PLACE), rows.shape[1])]
    before = rows[: row[PLACE["limit"]], inputs].tolist()
    # Of the features of a moment only those that are asked about tell any.
    found[int(row[PLACE["item"]])] = (row[inputs].tolist(), before)
  return found


def _features_of_history_are_none(found, columns):
  """Features stand at what is asked about, and nobody reads others'."""
  row, before = found
  return row, [seen[: len(seen) - columns] for seen in before]


@settings(max_examples=60)
@given(
  record=_records(),
  max_events=st.integers(1, 6),
  seed=st.integers(0, 99),
  context=st.sampled_from(_CONTEXTS),
)
@pytest.mark.parametrize("kind", _LAYOUTS)
def test_histories_and_what_is_asked_of_them(
  kind, record, max_events, seed, context
):
  layout = bound(
    kind(
      FEEDBACK,
      max_events,
      6,
      history_loss=True,
      features=FEATURES,
      context=context,
    )
  )
  rng, end = np.random.default_rng(seed), len(record["item"]) - 1
  own = _asked(layout, record, end, [end])
  assert len(own) == 1 + min(max_events, end)
  for event in range(end):
    if event < end - max_events:
      continue
    changed = _other_future(record, event, rng)
    item = int(record["item"][event])
    other = _asked(layout, changed, end, [end])
    columns = layout.features.num_moment
    assert _features_of_history_are_none(
      own[item], columns
    ) == _features_of_history_are_none(other[item], columns), event


@settings(max_examples=60)
@given(
  record=_records(),
  max_events=st.integers(1, 6),
  seed=st.integers(0, 99),
  context=st.sampled_from(_CONTEXTS),
)
@pytest.mark.parametrize("kind", _LAYOUTS)
def test_requests_that_are_asked_about(kind, record, max_events, seed, context):
  """Training examples, and the same as impressions that are scored."""
  layout = bound(
    kind(FEEDBACK, max_events, 1, features=FEATURES, context=context)
  )
  rng = np.random.default_rng(seed)
  examples, scored = _by_item(layout, record), _scored(layout, record)
  for event, item in enumerate(record["item"].tolist()):
    changed = _other_future(record, event, rng)
    assert examples[item] == _by_item(layout, changed, item)[item], event
    _assert_same(scored[item], _scored(layout, changed, item)[item])


def _assert_same(own, other):
  assert own.keys() == other.keys()
  for name in own:
    np.testing.assert_array_equal(own[name], other[name], err_msg=name)


def _by_item(layout, record, only=None):
  """Inputs of the training examples of one event each, or of one item."""
  source = RequestExamples(OneUser(record, len(record["item"])), _BOUND, 1)
  found = {}
  for example in (source[i] for i in range(len(source))):
    if only not in (None, int(example["item"][example[ASKED][0]])):
      continue
    rows = layout.example(example, source.split.train_end(example))
    assert rows[-1, PLACE["labelled"]] == 1
    inputs = [*_INPUTS, *range(len(PLACE), rows.shape[1])]
    found[int(rows[-1, PLACE["item"]])] = rows[:, inputs].tolist()
  return found


def _scored(layout, record, only=None):
  """Rows of the impressions of one event each, or of one item, by item."""
  histories = OneUser(record, len(record["item"]))
  batches = iter_impressions(histories, "train", FEEDBACK, 1, 1)
  found = {int(batch.candidates[0, 0]): batch for batch in batches}
  wanted = found if only is None else [only]
  return {item: layout.impression_batch(found[item]) for item in wanted}


def _pointwise():
  layout = PointwiseRows(
    features=(
      Feature("context.past_click", Vocabulary(8)),
      Feature("context.gap", Percentiles(4)),
      Feature("context.events", Vocabulary(8)),
      Feature("affinity.id.like", Vocabulary(8)),
      Feature("affinity.kind", Vocabulary(8)),
      Feature("item.id", Vocabulary(16)),
    ),
    history_features=("item.id",),
    feedback=FEEDBACK,
    max_length=10,
    history_length=3,
    num_candidates=1,
  )
  kinds = pl.DataFrame({"kind": [str(i % 3) for i in range(NUM_ITEMS)]})
  functions = context_functions(_BOUND) | {
    name: affinity(name, kinds, NUM_ITEMS, _BOUND)
    for name in ("id.like", "kind")
  }
  values, ones = np.arange(8.0), np.ones(8, np.int64)
  fitted = FittedFeatures(
    items=np.arange(NUM_ITEMS + 1)[:, None],
    users=np.zeros((2, 0), np.int64),
    contexts=tuple(
      (functions[f.field], f.encoder.fit(values, ones))
      for f in layout.features
      if f.side != "item"
    ),
    clock=Clock(0),
    feedback=_BOUND,
    unseen={},
  )
  return dataclasses.replace(layout, fitted=fitted, bound_shown=_BOUND)


@settings(max_examples=60)
@given(record=_records(), seed=st.integers(0, 99))
def test_rows_of_features(record, seed):
  layout, rng = _pointwise(), np.random.default_rng(seed)

  def rows(record):
    record = {**record, FIRST: np.array(0)}
    found = layout.example(record, len(record["item"]))
    labels = (4, 5)  # label and labelled.
    kept = [i for i in range(found.shape[1]) if i not in labels]
    return {int(row[0]): row[kept].tolist() for row in found}

  own, scored = rows(record), _scored(layout, record)
  for event, item in enumerate(record["item"].tolist()):
    changed = _other_future(record, event, rng)
    assert own[item] == rows(changed)[item], event
    _assert_same(scored[item], _scored(layout, changed, item)[item])


def test_examples_are_by_request_in_the_order_of_their_first_events():
  record = _record([1, 2, 3, 4, 5], [7, 8, 8, 7, 9], [0, 50, 60, 70, 80])
  assert [r.tolist() for r in requests_of(record, 5, _BOUND)] == [
    *([0, 3], [1, 2], [4]),
  ]
  source = RequestExamples(OneUser(record, 5), _BOUND, 2)
  assert [int(source[i]["begin"]) for i in range(3)] == [0, 1, 4]
  # Of a request that was made before, nothing is asked, however late it came.
  late = RequestExamples(OneUser(record, 5), _BOUND, 2, since=50)
  assert [late[i]["asked"].tolist() for i in range(len(late))] == [[1, 2], [4]]
  assert repr(late) != repr(source)
