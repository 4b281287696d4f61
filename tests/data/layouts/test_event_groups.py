# SPDX-License-Identifier: Apache-2.0
"""Old events in groups: which they are, whatever comes later."""

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.data.dataset.requests import Requests, cut
from genrec_jax.data.layouts import EventGroups, NextItem, StochasticLength


def _by_hand(count, length, size, places):
  """Members of every place: the oldest are merged until the rest fits."""
  groups, alone = [], list(range(count))
  while len(groups) + len(alone) > length:
    groups.append(alone[:size])
    alone = alone[size:]
    groups = groups[-places:]
  return groups, alone


_SHAPES = st.tuples(st.integers(2, 5), st.integers(1, 6), st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(count=st.integers(0, 60), shape=_SHAPES)
def test_as_few_groups_as_make_a_history_fit(count, shape):
  size, places, more = shape
  length = size + places + more
  groups, alone = _by_hand(count, length, size, places)
  made = EventGroups(size, places)
  made.check(length)
  first, end = made.cut(count, length)
  assert [*range(first, end)] == sum(groups, [])
  assert [*range(end, count)] == alone
  assert (end - first) % size == 0 and first % size == 0
  assert len(groups) <= places and (alone or not count)
  # What a packed row reserves for them.
  assert not groups or len(groups) + len(alone) > length - size


def _record(count, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "user": np.array(3, np.int32),
    "item": rng.permutation(200)[:count].astype(np.int32) + 1,
    "time": np.cumsum(rng.integers(1, 99, count)).astype(np.int32),
  }


_LAYOUT = NextItem(8, groups=EventGroups(3, 2))


@pytest.mark.parametrize("count", [0, 1, 8, 9, 12, 13, 14, 30])
def test_an_example_is_its_events_by_hand(count):
  record = _record(count)
  rows = _LAYOUT.example(record, count)
  groups, alone = _by_hand(max(0, count - 1), 8, 3, 2)
  assert len(rows) == len(groups) + len(alone)
  item, time = record["item"], record["time"]
  for row, members in zip(rows, [*groups, *[[e] for e in alone]], strict=True):
    newest = members[-1]
    label = item[newest + 1] if len(members) == 1 else 0
    kept = item[members] if len(members) > 1 else [0, 0, 0]
    expected = [item[newest], label, time[newest], time[newest + 1], 3, *kept]
    assert row.tolist() == [int(x) for x in expected]


def test_what_stands_in_a_group_never_changes():
  record = _record(40)
  found = {}
  for end in range(2, 41):
    first, stop = _LAYOUT.groups.cut(end - 1, 8)
    rows = _LAYOUT.example(record, end)
    for number in range(first // 3, stop // 3):
      members = rows[number - first // 3, 5:].tolist()
      assert found.setdefault(number, members) == members
  assert sorted(found) == list(range(len(found))) and len(found) > 8


def test_another_future_leaves_the_places_before_it():
  """Events from 15 on are others: inputs before them stay."""
  record, other = _record(25), _record(25, seed=1)
  mixed = {k: np.concatenate([record[k][:15], other[k][15:]])
           for k in ("item", "time")} | {"user": record["user"]}  # fmt: skip
  for end in range(2, 26):
    ours, theirs = (_LAYOUT.example(r, end) for r in (record, mixed))
    assert len(ours) == len(theirs)
    first, stop = _LAYOUT.groups.cut(end - 1, 8)
    newest = [*range(first + 2, stop, 3), *range(stop, end - 1)]
    before = np.array(newest) < 15
    # The label, and when it was, are of what comes.
    told = [0, 2, *range(4, 8)]
    np.testing.assert_array_equal(
      ours[before][:, told], theirs[before][:, told]
    )


def test_requests_show_what_training_shows():
  record = _record(31)
  for end in range(2, 32):
    packed = np.zeros((1, 8, _LAYOUT.num_columns), np.int32)
    rows = _LAYOUT.example(record, end)
    packed[0, : len(rows)] = rows
    segments = (packed[:, :, 0] > 0).astype(np.int32)
    trained = _LAYOUT.batch(packed, segments, np.arange(8)[None] * segments)
    one = np.full(1, 3, np.int32)
    asked = Requests(
      one, one, [cut(record, end - 1)], record["time"][end - 1 : end], one
    )
    served = _LAYOUT.request_batch(asked)
    assert served.keys() == trained.keys()
    for name in served:
      assert served[name].dtype == trained[name].dtype
      if name != "label_BL":
        np.testing.assert_array_equal(served[name], trained[name], name)
    short = _LAYOUT.shortened(served)
    assert short["group_item_BNG"].shape == served["group_item_BNG"].shape


def test_a_packed_row_has_the_groups_of_all_its_histories():
  records = [_record(30, seed) for seed in range(3)] + [_record(5, 4)]
  rows = [_LAYOUT.example(r, len(r["item"])) for r in records]
  length = sum(map(len, rows))
  packed = np.zeros((1, length, _LAYOUT.num_columns), np.int32)
  packed[0] = np.concatenate(rows)
  segments = np.repeat([1, 2, 3, 4], [len(r) for r in rows])[None]
  batch = _LAYOUT.batch(packed, segments, segments)
  slots, members = batch["group_slot_BL"][0], batch["group_item_BNG"][0]
  for place in range(length):
    kept = packed[0, place, 5:]
    if kept.any():
      assert members[slots[place] - 1].tolist() == kept.tolist()
    else:
      assert slots[place] == 0
  assert slots.max() == 6 and not members[6:].any()
  assert len(members) >= 6


@pytest.mark.parametrize(
  ("groups", "said"),
  [
    ({"size": 1, "places": 2}, "groups.size=1 must be at least 2"),
    ({"size": 2, "places": 0}, "groups.places=0 must be at least 1"),
    ({"size": 5, "places": 4}, "no single event for certain in max_length=8"),
  ],
)
def test_groups_that_cannot_be(groups, said):
  node = {"name": "layouts.NextItem", "max_length": 8}
  with pytest.raises(ValueError, match=said):
    build(node | {"groups": {"name": "layouts.EventGroups", **groups}})


def test_groups_and_parts_of_histories_exclude_each_other():
  with pytest.raises(ValueError, match="groups and stochastic_length"):
    NextItem(
      8, groups=EventGroups(3, 2), stochastic_length=StochasticLength(1.6)
    )
