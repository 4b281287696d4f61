# SPDX-License-Identifier: Apache-2.0
"""Another past: what is changed, what is not, and what cannot be."""

import numpy as np
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Interleaved,
)
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.ranking.actions import Actions
from genrec_jax.ranking.candidates import asked_about
from genrec_jax.ranking.edits import appended, removed, replaced
from genrec_jax.ranking.what_if import Change, changed, changes_of
from tests.data.layouts.requests_by_hand import (
  ACTIONS,
  FEEDBACK,
  NUM_ITEMS,
  bound,
  user_record,
)

_ACTIONS = Actions(ACTIONS, FEEDBACK)


def _same(a, b):
  assert a.keys() == b.keys()
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert a[name].dtype == b[name].dtype


def test_edits_copy_and_undo_each_other():
  record = user_record()
  longer = appended(record, 9, 50, {"action": 2})
  assert {n: x[-1] for n, x in longer.items() if n != "user"} == {
    "item": 9,
    "time": 50,
    "action": 2,
    "request": 5,
  }
  _same(removed(longer, 8), record)
  other = replaced(record, 2, {"action": 4})
  assert other["action"].tolist() == [5, 6, 4, 1, 4, 2, 1, 3]
  _same(replaced(other, 2, {"action": 2}), record)
  _same(record, user_record())


def test_nobody_knows_where_what_is_added_was_shown():
  record = user_record()
  record["scene"] = np.full(len(record["item"]), 3, np.int32)
  scenes = appended(record, 9, 50, {})["scene"]
  assert scenes.tolist() == [3] * len(record["item"]) + [0]


@pytest.mark.parametrize("gone", [("request",), ("request", "time")])
def test_what_is_added_is_a_request_of_its_own(gone):
  record = {n: x for n, x in user_record().items() if n not in gone}
  before = request_numbers(record).tolist()
  # All at the time of the last event, which is that of its request.
  for count in (1, 2):
    record = appended(record, 9, 40, {"action": 2})
    new = [max(before) + 1 + i for i in range(count)]
    assert request_numbers(record).tolist() == [*before, *new]
  seen = RequestEvents.of(record, 10, 10, None, None)
  assert seen.first[-2:].tolist() == [8, 9]
  assert seen.num_requests == max(before) + 3
  if gone == ("request",):
    ends = Moments.of_events(record, np.arange(10)).ends
    assert ends.tolist() == [0, 0, 2, 2, 4, 5, 6, 6, 8, 9]
  # Behind no event at all.
  nobody = {n: x if n == "user" else x[:0] for n, x in record.items()}
  del nobody["request"]
  assert request_numbers(appended(nobody, 9, 40, {})).tolist() == [0]


def test_layouts_read_a_record_that_has_grown():
  record = user_record()
  del record["request"]
  for _ in range(2):
    record = appended(record, 9, 40, {"action": 2})
  asked = asked_about(record, np.array([3]), 40, NUM_ITEMS)
  for kind in (ActionOriented, Interleaved):
    batch = bound(kind(FEEDBACK, 12)).impression_batch(asked)
    of = batch["request_BL"][0][batch["segment_ids_BL"][0] > 0]
    assert np.unique(of).tolist() == list(range(8)) and of[-1] == 7


def test_changes_count_events_before_any_of_them():
  changes = changes_of("-1=like|click, -8=removed,-3=skip")
  assert changes[1] == Change(-8, "removed")
  found = changed(user_record(), changes, _ACTIONS)
  assert found["item"].tolist() == [2, 3, 4, 5, 6, 7, 8]
  assert found["action"].tolist() == [6, 2, 1, 4, 1, 1, 4]


def test_an_event_without_a_time_stays_without():
  found = changed(user_record(), [Change(1, "skip")], _ACTIONS)
  assert found["action"][1] == ACTIONS.index("untimed")
  found = changed(user_record(), [Change(0, "like")], _ACTIONS)
  assert found["action"][0] == ACTIONS.index("like|untimed")


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("skip", "'skip' is no change; write EVENT=ACTION"),
    ("last=skip", "'last=skip' is no change"),
    ("-9=skip", "event -9 is not in this history of 8 events"),
    ("8=skip", "event 8 is not in this history"),
    ("-1=skip,7=like", "event 7 is changed twice"),
    ("-1=lik", "no action 'lik'. Did you mean 'like'"),
    ("-1=", "no action ''"),
    ("0=click", r"no action 'click\|untimed'"),
  ],
)
def test_changes_that_cannot_be(text, message):
  with pytest.raises(ValueError, match=message):
    changed(user_record(), changes_of(text), _ACTIONS)


def test_the_likely_action_is_the_most_likely_combination():
  for p, action in (
    ((0.1, 0.2), "skip"),
    ((0.9, 0.2), "click"),
    ((0.4, 0.7), "like"),
    ((0.6, 0.7), "click|like"),
  ):
    found = _ACTIONS.likely(np.array(p))
    assert _ACTIONS.text(found) == action
  found = _ACTIONS.likely(np.array([0.1, 0.8]), untimed=True)
  assert _ACTIONS.text(found) == "like|untimed"
  other = Actions(["", "a", "skip", "click"], Feedback(("click",)))
  assert other.text(other.likely(np.array([0.2]))) == "skip"
  # Without "skip" it is the action that says least besides the tasks.
  other = Actions(["", "click|follow", "follow|share", "follow"], FEEDBACK)
  other = Actions(other.vocabulary, Feedback(("click",)))
  assert other.text(other.likely(np.array([0.2]))) == "follow"
  # Nothing known is no outcome.
  for actions, untimed in (
    (["", "click|untimed", "untimed"], False),
    (["", "click"], True),
  ):
    other = Actions(actions, Feedback(("click",)))
    other.likely(np.array([0.2]), untimed=not untimed)
    of = "without" if untimed else "with"
    with pytest.raises(ValueError, match=f"actions is of an event {of} a time"):
      other.likely(np.array([0.2]), untimed=untimed)


def test_values_as_actions():
  rating = Actions(["", "x"], Feedback(("good",), min_value=4.0))
  assert rating.named("3.5") == {"value": 3.5}
  assert rating.likely(np.array([0.5]))["value"] == 4.0
  assert rating.likely(np.array([0.4]))["value"] < 4.0
  assert rating.text({"value": 3.0}) == "3" and rating.text({}) == ""
  with pytest.raises(ValueError, match="'good' must be a number.*at least 4"):
    rating.named("good")


def test_a_ranker_tells_before_and_after(make_ranker):
  ranker = make_ranker()
  user, ids = ranker.users.ids[2], ranker.catalog.ids[1:7]
  table = ranker.what_if(ids, user, "-1=purchase", weights="cart=1")
  same = ranker.rank(ids, user, weights="cart=1")
  assert table["item_id"].to_list() == same["item_id"].to_list()
  assert (table["value"] == same["value"]).all()
  assert (table["cart"] == table["cart_if"]).all()
  np.testing.assert_allclose(table["purchase_if"], 0.6, rtol=1e-6)
  # Removing the one event of a category raises that category alone.
  record = ranker.record(user)
  of_item = ranker.scorer.score_fn.categories
  gone = of_item[record["item"][-1]]
  table = ranker.what_if(ids, user, "-1=removed")
  for row in table.iter_rows(named=True):
    ratio = row["cart_if"] / row["cart"]
    mine = of_item[ranker.catalog.index_of(row["item_id"])] == gone
    assert ratio == pytest.approx(np.exp(0.5) if mine else 1.0, 1e-5)
  assert len(ranker.scorer.score_fn.seen[-1]["item"]) == len(record["item"]) - 1
  with pytest.raises(ValueError, match="not in this history of 0 events"):
    ranker.what_if(ids, None, "-1=view")
  with pytest.raises(ValueError, match="at least one change"):
    ranker.what_if(ids, user, ())


def test_a_history_says_what_came_of_events(make_ranker):
  ranker = make_ranker()
  user = ranker.users.ids[2]
  record, table = ranker.record(user), ranker.history(user)
  assert table["event"][-1] == -1 and len(table) == len(record["item"])
  names = ranker.histories.manifest.actions
  assert table["action"].to_list() == [names[a] for a in record["action"]]
  epoch = ranker.histories.manifest.epoch_seconds
  seconds = table["time"].dt.epoch("s").to_numpy()
  np.testing.assert_array_equal(seconds, record["time"].astype(int) + epoch)
  assert len(ranker.history(None)) == 0
