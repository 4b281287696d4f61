# SPDX-License-Identifier: Apache-2.0
"""Tokens of requests by hand: what each tells, where it is, what it may see."""

import zlib

import numpy as np
import polars as pl
import pytest

from genrec_jax.core.roles import ACTION, BOTH, CANDIDATE, EVENT, ITEM, TARGET
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import iter_impressions, no_impressions
from genrec_jax.data.features.user_tokens import hashed_attributes
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Fused,
  Interleaved,
)
from genrec_jax.data.layouts.labelled_events import LabelledEvents
from genrec_jax.data.layouts.request_columns import NEXT_ITEM, PLACE, SLOT
from genrec_jax.data.layouts.request_events import UNKNOWN_TIME
from genrec_jax.data.layouts.request_examples import RequestExamples
from tests.data.layouts.parts_by_hand import ModelByHand
from tests.data.layouts.requests_by_hand import (
  ACTIONS,
  FEATURES,
  FEEDBACK,
  OneUser,
  bound,
  user_record,
)

_U = UNKNOWN_TIME


def _example(layout, index):
  """Columns of an example by name."""
  layout = bound(layout)
  source = layout.source(OneUser())
  record = source[index]
  rows = layout.example(record, source.split.train_end(record))
  assert rows.shape[1] == layout.num_columns and len(rows) <= layout.max_length
  return {name: rows[:, i].tolist() for name, i in PLACE.items()}


def test_the_requests_of_the_training_part_are_its_examples():
  layout = bound(ActionOriented(FEEDBACK, 8, num_candidates=2))
  source = layout.source(OneUser())
  asked = [source[i]["asked"].tolist() for i in range(len(source))]
  # The list has no times; the request at 40 tests.
  assert asked == [[2, 3], [4], [5]]
  assert [int(source[i]["begin"]) for i in range(3)] == [2, 4, 5]
  alone = bound(ActionOriented(FEEDBACK, 8, num_candidates=1))
  asked = [source["asked"].tolist() for source in _all(alone)]
  assert asked == [[2], [3], [4], [5]]
  last = bound(ActionOriented(FEEDBACK, 8, last_requests=2))
  assert [r["asked"].tolist() for r in _all(last)] == [[4], [5]]
  assert [int(r["piece"]) for r in _all(alone)] == [0, 1, 0, 0]
  with pytest.raises(IndexError, match="3 is out of range"):
    source[3]


def _all(layout):
  source = layout.source(OneUser())
  return [source[i] for i in range(len(source))]


@pytest.mark.parametrize("layout", [Interleaved, ActionOriented])
def test_a_long_request_is_asked_in_pieces_and_its_history_once(layout):
  """Every label has one loss, however few candidates an example has."""
  options = {"history_loss": True, "last_requests": 1}
  user = OneUser()
  # Events 4 and 5 are shown together, behind the two of the request before.
  user.record["time"][5] = user.record["time"][4]
  user.record["request"][5] = user.record["request"][4]
  counts = {}
  for number in (1, 2):
    whole = bound(layout(FEEDBACK, 8, number, **options))
    source = whole.source(user)
    rows = [whole.example(source[i], 4) for i in range(len(source))]
    counts[number] = [int(r[:, PLACE["labelled"]].sum()) for r in rows]
  assert counts == {1: [2 + 1, 1], 2: [2 + 2]}


@pytest.mark.parametrize("layout", [Interleaved, ActionOriented])
def test_features_of_a_moment_are_the_same_behind_a_shorter_history(layout):
  found = []
  for max_events in (8, 2):
    options = {"history_loss": True, "features": FEATURES}
    whole = bound(layout(FEEDBACK, max_events, 1, **options))
    source = whole.source(OneUser())
    last = source[len(source) - 1]
    rows = whole.example(last, source.split.train_end(last))
    asked = rows[rows[:, PLACE["labelled"]] > 0]
    moments = asked[:, len(PLACE) :].tolist()
    found.append(dict(zip(asked[:, PLACE["item"]], moments, strict=True)))
  whole, short = found
  # Events 2 to 5 have labels; of two before the last, only 3 and 4 are left.
  assert list(whole) == [6, 3, 4, 5] or list(whole) == [3, 4, 5, 6]
  assert short.keys() == {4, 5, 6}
  assert short == {item: whole[item] for item in short}
  assert len({tuple(m) for m in short.values()}) == 3


def test_interleaved_tokens():
  got = _example(Interleaved(FEEDBACK, 8, num_candidates=2), 1)
  assert got["item"] == [1, 0, 2, 0, 3, 0, 4, 0, 5]
  assert got["kind"] == [ITEM, ACTION] * 4 + [ITEM]
  assert got["role"] == [EVENT] * 8 + [TARGET]
  # Likes of the list, clicks of the request, and nothing of what is asked.
  assert got["action"] == [0, 0, 0, 2, 0, 1, 0, 0, 0]
  # Items of one request share the place of its first, and see what is before.
  assert got["positions"] == [0, 1, 0, 3, 4, 5, 4, 7, 8]
  assert got["limit"] == [0, -1, 0, -1, 4, -1, 4, -1, 8]
  assert got["request"] == [0, 0, 0, 0, 1, 1, 1, 1, 2]
  assert got["time"] == [_U, _U, _U, _U, 10, 10, 10, 10, 20]
  # The gap after the list is not known.
  assert got["gap"] == [-1] * 8 + [10]
  assert got["labelled"] == [0] * 8 + [1]
  assert got["label"] == [0] * 8 + [3]


def test_action_oriented_tokens():
  got = _example(ActionOriented(FEEDBACK, 8, num_candidates=2), 2)
  assert got["item"] == [1, 2, 3, 4, 5, 6]
  assert got["kind"] == [BOTH] * 5 + [CANDIDATE]
  assert got["action"] == [0, 2, 1, 0, 3, 0]
  assert got["positions"] == [0, 1, 2, 3, 4, 5]
  assert got["limit"] == [-1] * 5 + [5]
  assert got["request"] == [0, 0, 1, 1, 2, 3]
  assert got["gap"] == [-1, -1, -1, -1, 10, 10]
  assert got["label"] == [0] * 5 + [1]


def test_a_loss_on_history_asks_about_its_timed_events_again():
  layout = ActionOriented(FEEDBACK, 8, history_loss=True, last_requests=1)
  got = _example(layout, 0)
  assert got["item"] == [1, 2, 3, 4, 5, 6, 3, 4, 5]
  assert got["labelled"] == [0] * 5 + [1] * 4
  assert got["label"] == [0] * 5 + [1, 1, 0, 3]
  assert got["role"][5:] == [TARGET] * 4
  assert got["limit"][5:] == got["positions"][5:] == [5, 2, 2, 4]
  assert got["request"][5:] == [3, 1, 1, 2]
  assert got["gap"][5:] == [10, -1, -1, 10]
  assert got["time"][5:] == [30, 10, 10, 20]
  where = Interleaved(FEEDBACK, 8, history_loss=True, last_requests=1)
  got = _example(where, 0)
  assert got["labelled"] == [0] * 4 + [1, 0] * 3 + [1]
  assert [got["label"][i] for i in (4, 6, 8, 10)] == [1, 0, 3, 1]


def test_a_long_history_keeps_its_last_events():
  got = _example(Interleaved(FEEDBACK, 2), 3)
  assert got["item"] == [4, 0, 5, 0, 6]
  assert got["request"] == [0, 0, 1, 1, 2]
  assert got["limit"] == [0, -1, 2, -1, 4]


def test_fused_tokens_tell_nothing_of_requests():
  got = _example(Fused(FEEDBACK, 8, num_candidates=2), 2)
  assert set(got["request"]) == {0} and set(got["gap"]) == {-1}
  assert got["kind"] == [BOTH] * 5 + [CANDIDATE]


def test_a_history_that_sees_all_of_itself():
  got = _example(ActionOriented(FEEDBACK, 8, causal=False), 3)
  assert got["limit"] == [5] * 6
  with pytest.raises(ValueError, match="history_loss=True needs causal=True"):
    ActionOriented(FEEDBACK, 8, causal=False, history_loss=True)


@pytest.mark.parametrize("kind", [Interleaved, ActionOriented, Fused])
def test_candidates_end_a_row_and_are_tokens_of_training(kind):
  layout = bound(kind(FEEDBACK, 8, num_candidates=2))
  histories = OneUser()
  (found,) = iter_impressions(histories, "train", FEEDBACK, 9, 2)
  batch = layout.impression_batch(found)
  assert batch["item_BL"].shape == (3, layout.request_length)
  np.testing.assert_array_equal(batch["item_BL"][:, -2:], found.candidates)
  for row, record in enumerate(_all(layout)):
    rows = layout.example(record, int(record["begin"]))
    count = len(record["asked"])
    end = layout.request_length - 2 + count
    for name, i in PLACE.items():
      if name in ("label", "labelled"):
        assert not batch[f"{name}_BL"].any()
        continue
      if name in (NEXT_ITEM, SLOT):
        assert not rows[:, i].any() and f"{name}_BL" not in batch
        continue
      mine = batch[f"{name}_BL"][row, end - len(rows) : end]
      np.testing.assert_array_equal(mine, rows[:, i], err_msg=name)
    segments = batch["segment_ids_BL"][row]
    assert np.flatnonzero(segments).tolist() == list(
      range(end - len(rows), end)
    )
  nothing = kind(FEEDBACK, 8, num_candidates=2)
  empty = nothing.impression_batch(no_impressions(3, 2))
  assert {k: v.shape for k, v in empty.items()} == {
    k: v.shape for k, v in batch.items()
  }
  assert not empty["segment_ids_BL"].any()


def test_attributes_of_any_type_are_hashed():
  table = pl.DataFrame(
    {
      "age": [1.5, float("nan"), None, 1.5],
      "tags": [["a", "b"], None, ["b"], ["a", "b"]],
      "level": [3, 3, None, 4],
    }
  )
  ids = hashed_attributes(table, table.columns, 2**30)
  assert ids[0, 0] == ids[3, 0] > 0 and ids[1:3, 0].tolist() == [0, 0]
  assert ids[0, 1] == ids[3, 1] > 0 and ids[1, 1] == 0
  assert ids[2, 1] not in (0, ids[0, 1])
  text = table.with_columns(pl.col("tags").list.join("|"))
  assert (ids == hashed_attributes(text, table.columns, 2**30)).all()
  # Trained tables hold the rows of these.
  values = (b"age=1.5", b"tags=a|b", b"level=3")
  assert ids[0].tolist() == [1 + zlib.crc32(v) % 2**30 for v in values]


@pytest.mark.parametrize("make", [LabelledEvents, RequestExamples])
def test_sources_of_other_examples_are_other_sources(make):
  feedbacks = (
    FEEDBACK,
    Feedback(("click",)),
    Feedback(("click",), 3.0),
    Feedback(("click",), 4.0),
  )
  value = {**user_record(), "value": np.arange(8, dtype=np.float32)}
  found = {
    repr(make(OneUser(value), feedback.bind(ACTIONS), size))
    for feedback in feedbacks
    for size in (1, 2)
  }
  assert len(found) == 8


def test_attributes_come_first_and_see_each_other_alone():
  table = pl.DataFrame({"age": ["old"], "city": [None]})
  ids = hashed_attributes(table, ("age", "city"), 100)
  assert ids.shape == (1, 2) and 1 <= ids[0, 0] <= 100 and ids[0, 1] == 0
  with pytest.raises(ValueError, match=r"no attribute 'agee'.*'age'"):
    hashed_attributes(table, ("agee",), 100)
  plain = bound(ActionOriented(FEEDBACK, 8, num_candidates=2))
  layout = bound(ActionOriented(FEEDBACK, 8, num_candidates=2))
  object.__setattr__(layout, "context", ("age", "city"))
  object.__setattr__(layout, "context_UC", ids)
  record = _all(plain)[2]
  rows, without = (
    x.example(record, int(record["begin"])) for x in (layout, plain)
  )
  assert rows[:2, PLACE["context"]].tolist() == ids[0].tolist()
  assert rows[:2, PLACE["limit"]].tolist() == [2, 2]
  for name, i in PLACE.items():
    shift = 2 if name in ("positions", "limit") else 0
    moved = np.where(without[:, i] >= 0, without[:, i] + shift, -1)
    np.testing.assert_array_equal(
      rows[2:, i], moved if shift else without[:, i], err_msg=name
    )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"max_events": 0}, "max_events=0 must be at least 1"),
    ({"max_events": 3, "num_candidates": 0}, "num_candidates=0"),
    ({"max_events": 3, "last_requests": -1}, "last_requests=-1"),
  ],
)
def test_sizes_that_are_none(options, message):
  with pytest.raises(ValueError, match=message):
    Interleaved(FEEDBACK, **options)


def test_an_unbound_layout_has_no_labels():
  with pytest.raises(ValueError, match="not bound"):
    Interleaved(FEEDBACK, 3).source(OneUser())


@pytest.mark.parametrize(
  ("layout", "told", "message"),
  [
    (Interleaved, {"num_actions": 3}, "num_actions=3, .* makes it 2"),
    (ActionOriented, {"unknown_action": False}, "makes it True"),
    (Fused, {"context_ids": 4}, "context_ids=4, .* makes it 5"),
  ],
)
def test_a_system_that_reads_less_than_tokens_tell_is_refused(
  layout, told, message
):
  whole = layout(FEEDBACK, 8, context=("a",), context_ids=5)
  fits = {
    "feature_rows": (),
    "history_columns": (),
    "num_actions": 2,
    "unknown_action": True,
    "context_ids": 5,
  }
  whole.check_system(ModelByHand(**fits))
  with pytest.raises(ValueError, match=message):
    whole.check_system(ModelByHand(**fits | told))
  with pytest.raises(ValueError, match="lacks unknown_action, .*num_actions"):
    whole.check_system(ModelByHand())
