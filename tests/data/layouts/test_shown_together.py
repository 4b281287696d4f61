# SPDX-License-Identifier: Apache-2.0
"""Items shown together: what they see, in which order, and in which slots."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.core.roles import ACTION
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.layouts.actions import Interleaved
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.data.layouts.shown_together import (
  ShownTogether,
  shuffled_within,
)
from tests.data.layouts.parts_by_hand import ModelByHand
from tests.data.layouts.requests_by_hand import (
  FEATURES,
  FEEDBACK,
  OneUser,
  bound,
)

_OPTIONS = {"history_loss": True, "last_requests": 1}
# Of the order alone: where tokens are, and what they may see there.
_OF_PLACE = ("positions", "limit")


def _record(request=(0, 0, 1, 1, 1, 1, 2, 3, 3, 3, 4, 4)):
  """A list that is never asked, and requests of four, one, three and two."""
  size = len(request)
  columns = {
    "item": 1 + np.arange(size),
    "time": [10 * r for r in request],
    "action": [5, 6, *([2, 1, 4, 3] * 3)[: size - 2]],
    "request": request,
  }
  record = {name: np.array(x, np.int32) for name, x in columns.items()}
  return {"user": np.array(0, np.int32), **record}


def _rows(layout, rng=None, record=None):
  layout = bound(layout)
  record = _record() if record is None else record
  source = layout.source(OneUser(record, end=len(record["item"])))
  found = source[len(source) - 1]
  return layout.example(found, source.split.train_end(found), rng)


def _layout(siblings, **more):
  return ShownTogether(FEEDBACK, 12, 2, **_OPTIONS, siblings=siblings, **more)


def _columns(rows, *names):
  return [rows[:, PLACE[name]].tolist() for name in names]


def test_hidden_siblings_are_the_interleaved_layout():
  np.testing.assert_array_equal(
    _rows(_layout("hidden")), _rows(Interleaved(FEEDBACK, 12, 2, **_OPTIONS))
  )


def test_visible_siblings_by_hand():
  rows = _rows(_layout("logged"))
  position, limit = _columns(rows, "positions", "limit")
  # Ten events of two tokens, and two items that are asked about behind them.
  assert position == [*range(20), 20, 20]
  # An item sees all before it, and is one place behind; an action too.
  assert limit[:20:2] == [*range(0, 20, 2)] and limit[20:] == [20, 20]
  assert set(limit[1:20:2]) == {-1}
  hidden = _rows(_layout("hidden"))
  assert _columns(hidden, "limit")[0][4:12:2] == [4, 4, 4, 4]
  rest = [i for name, i in PLACE.items() if name not in _OF_PLACE]
  np.testing.assert_array_equal(rows[:, rest], hidden[:, rest])
  # What an action tells is never asked for.
  kind, labelled = _columns(rows, "kind", "labelled")
  assert not any(y for k, y in zip(kind, labelled, strict=True) if k == ACTION)


def test_the_order_within_a_request_is_all_that_is_shuffled():
  layout = _layout("shuffled", num_slots=3, features=FEATURES)
  plain = _rows(layout)
  request = plain[:20:2, PLACE["request"]]
  place = [PLACE[name] for name in _OF_PLACE]
  orders = set()
  for seed in range(20):
    rows = _rows(layout, np.random.default_rng(seed))
    np.testing.assert_array_equal(rows[20:], plain[20:])
    np.testing.assert_array_equal(rows[:, place], plain[:, place])
    for number in range(4):
      mine = np.flatnonzero(request == number)
      pairs = [
        np.delete(x.reshape(10, 2, -1)[mine], place, axis=2)
        for x in (rows[:20], plain[:20])
      ]
      # Whole events change places, with features, labels and slots.
      found, expected = (sorted(map(str, p.tolist())) for p in pairs)
      assert found == expected
    items = tuple(rows[:20:2, PLACE["item"]].tolist())
    # What is not asked stays: the list from before.
    assert items[:2] == (1, 2) and items[6] == 7
    orders.add(items[2:6])
    again = _rows(layout, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, rows)
  assert len(orders) > 8
  # Without a draw, as where requests are scored, the log's order.
  assert plain[:20:2, PLACE["item"]].tolist() == [*range(1, 11)]


def test_features_of_a_moment_are_those_of_the_event_that_moved():
  """Of a feature that tells the item, such as how often it was met."""
  layout = bound(_layout("shuffled", features=FEATURES))
  fitted = layout.features.fitted
  (_, encoder), *others = fitted.contexts
  told = (lambda moments, *_: moments.items % 7.0, encoder)
  fitted = dataclasses.replace(fitted, contexts=(told, *others))
  features = dataclasses.replace(layout.features, fitted=fitted)
  layout = dataclasses.replace(layout, features=features)
  source = layout.source(OneUser(_record(), end=12))
  rows = layout.example(source[0], 10, np.random.default_rng(1))
  asked = rows[rows[:, PLACE["labelled"]] > 0]
  items = asked[:, PLACE["item"]]
  assert items.tolist() != sorted(items) and len(items) == 10
  expected = encoder.ids(items % 7.0)
  np.testing.assert_array_equal(asked[:, len(PLACE)], expected)


def test_every_order_is_drawn_alike():
  number = np.array([0, 4, 4, 0, 4, 2, 4])
  movable = np.array([1, 1, 1, 1, 1, 1, 0]) > 0
  rng, count = np.random.default_rng(0), {}
  for _ in range(1200):
    order = tuple(shuffled_within(number, movable, rng).tolist())
    assert order[5:] == (5, 6)
    count[order] = count.get(order, 0) + 1
  # 2 x 6 of 100 each, with a deviation of 9.6.
  assert len(count) == 12 and min(count.values()) > 65


@pytest.mark.parametrize("siblings", ["logged", "shuffled"])
def test_no_item_sees_a_request_that_was_made_later(siblings):
  """Where requests mix, by a loop over what stands in front."""
  for seed in range(30):
    rng = np.random.default_rng(seed)
    request = [0, 0, *rng.integers(1, 4, 9).tolist(), 9]
    record = _record(request)
    record["time"] = np.arange(12, dtype=np.int32)
    layout = _layout(siblings)
    rows = _rows(layout, rng, record)[:-1]
    number = np.array(request)[rows[::2, PLACE["item"]] - 1]
    for i, limit in enumerate(rows[::2, PLACE["limit"]].tolist()):
      end = first = request.index(number[i])
      while end < i and request[end] == number[i]:
        end += 1
      assert limit == 2 * end
      made = [request.index(number[j]) for j in range(limit // 2)]
      assert all(m <= first for m in made)


def test_slots_are_logged_in_training_and_one_for_all_where_it_is_scored():
  layout = _layout("hidden", num_slots=3, asked_slot=2)
  rows = _rows(layout)
  # By a loop over the log; beyond the last slot they share it.
  seen, expected = {}, []
  for request in _record()["request"].tolist():
    seen[request] = seen.get(request, 0) + 1
    expected.append(min(seen[request], 3))
  assert rows[:20:2, PLACE["slot"]].tolist() == expected[:10]
  assert rows[20:, PLACE["slot"]].tolist() == expected[10:] == [1, 2]
  assert not rows[1:20:2, PLACE["slot"]].any()
  user = OneUser(_record(), end=12)
  (found,) = iter_impressions(user, "train", FEEDBACK, 9, 4)
  batch = bound(layout).impression_batch(found)
  assert found.candidates.shape == (4, 4)
  asked = batch["slot_BL"][:, -4:][found.candidates > 0]
  assert asked.tolist() == [2] * 10
  none = bound(_layout("hidden")).impression_batch(found)
  assert batch.keys() - none.keys() == {"slot_BL"}


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"siblings": "suffled"}, "'suffled' is unknown.*mean 'shuffled'"),
    ({"num_slots": -1}, "num_slots=-1 must be at least 0"),
    (
      {"num_slots": 3, "asked_slot": 5},
      "asked_slot=5 must be one of the slots",
    ),
    ({"siblings": "logged", "causal": False}, "needs causal=True"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    ShownTogether(FEEDBACK, 8, **options)


def test_a_system_without_slots_is_refused():
  fits = {
    "feature_rows": (),
    "history_columns": (),
    "num_actions": 2,
    "unknown_action": False,
    "context_ids": 0,
  }
  layout = ShownTogether(FEEDBACK, 8, num_slots=3)
  layout.check_system(ModelByHand(**fits, num_slots=3))
  with pytest.raises(ValueError, match="lacks num_slots"):
    layout.check_system(ModelByHand(**fits))
  with pytest.raises(ValueError, match="num_slots=4, .* tells 3 slots"):
    layout.check_system(ModelByHand(**fits, num_slots=4))
