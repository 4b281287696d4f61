# SPDX-License-Identifier: Apache-2.0
"""What came next stands where its event's action does, in both layouts."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.requests import make_requests, no_requests
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Interleaved,
)
from genrec_jax.data.layouts.joint import (
  JointActionOriented,
  JointFused,
  JointInterleaved,
)
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.data.layouts.request_events import UNKNOWN_TIME
from tests.data.layouts.requests_by_hand import (
  FEEDBACK,
  OneUser,
  bound,
  user_record,
)

_OPTIONS = {"history_loss": True, "last_requests": 1}
_LAYOUTS = {
  "interleaved": JointInterleaved(FEEDBACK, 8, 2, **_OPTIONS),
  "action_oriented": JointActionOriented(FEEDBACK, 8, 2, **_OPTIONS),
  "fused": JointFused(FEEDBACK, 8, 2, **_OPTIONS),
}


def _example(layout, index=0):
  source = layout.source(OneUser())
  record = source[index]
  return layout.example(record, source.split.train_end(record))


def _column(rows, name):
  return rows[:, PLACE[name]].tolist()


def test_by_hand():
  """The last request that trains is event 5, behind 5 events."""
  rows = _example(bound(_LAYOUTS["interleaved"]))
  # i0 a0 ... i4 a4 and item 6, which is asked about.
  assert _column(rows, "next_item") == [0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]
  nobody = UNKNOWN_TIME
  assert _column(rows, "query_time") == [
    *(nobody, nobody, nobody, 10, 10, 10, 10, 20, 20, 30),
    30,
  ]
  rows = _example(bound(_LAYOUTS["action_oriented"]))
  # Behind them events 2 to 4 once more, for the loss on history.
  assert _column(rows, "next_item") == [2, 3, 4, 5, 6, 0, 0, 0, 0]
  assert _column(rows, "query_time")[:6] == [nobody, 10, 10, 20, 30, 30]


@pytest.mark.parametrize(
  ("ours", "plain"),
  [("interleaved", Interleaved), ("action_oriented", ActionOriented)],
)
def test_all_else_is_the_ranking_layouts(ours, plain):
  rows = _example(bound(_LAYOUTS[ours]))
  twin = _example(bound(plain(FEEDBACK, 8, 2, **_OPTIONS)))
  names = set(PLACE) - {"next_item", "query_time"}
  for name in names:
    assert _column(rows, name) == _column(twin, name), name
  # A loss must not find labels, all 0, where there are none.
  zeros = np.zeros((1, 2), np.int32)
  rows_BLC = np.zeros((1, 2, len(PLACE)), np.int32)
  with_next = _LAYOUTS[ours].batch(rows_BLC, zeros, zeros)
  without = plain(FEEDBACK, 8).batch(rows_BLC, zeros, zeros)
  assert with_next.keys() - without.keys() == {"next_item_BL"}


def test_a_piece_of_a_request_is_not_asked_for_its_history_again():
  layout = bound(dataclasses.replace(_LAYOUTS["fused"], num_candidates=1))
  user = OneUser()
  for name in ("time", "request"):
    user.record[name][5] = user.record[name][4]
  source = layout.source(user)
  first, second = (layout.example(source[i], 4) for i in range(len(source)))
  assert [i for i in _column(first, "next_item") if i] == [2, 3, 4, 5]
  assert not any(_column(second, "next_item"))


@pytest.mark.parametrize("name", _LAYOUTS)
def test_only_wanted_items_and_the_events_that_are_kept(name):
  whole = _column(_example(bound(_LAYOUTS[name])), "next_item")
  options = {"wanted": Feedback(("like",)), "max_events": 3}
  layout = bound(dataclasses.replace(_LAYOUTS[name], **options))
  found = [i for i in _column(_example(layout), "next_item") if i]
  assert [i for i in whole if i][-3:] == [4, 5, 6]
  # Event 4 (item 5) was click|like, events 3 and 5 were not liked.
  assert found == [5]


@pytest.mark.parametrize("name", _LAYOUTS)
def test_requests_are_histories_and_padding(name):
  layout = bound(_LAYOUTS[name])
  record = user_record()
  requests = make_requests([(record, 6), (record, 0)])
  batch = layout.request_batch(requests)
  size = layout.tokens_per_event
  assert batch["item_BL"].shape == (2, 8 * size)
  assert batch["segment_ids_BL"].tolist() == [[1] * 6 * size + [0] * 2 * size,
                                              [0] * 8 * size]  # fmt: skip
  assert batch["query_time_BL"][0, 6 * size - 1] == 40
  assert not batch["next_item_BL"].any() and not batch["labelled_BL"].any()
  shapes = {k: v.shape for k, v in layout.request_batch(no_requests(2)).items()}
  assert shapes == {k: v.shape for k, v in batch.items()}


def test_a_history_that_sees_itself_has_no_next_item():
  with pytest.raises(ValueError, match="causal=False lets a history see"):
    JointInterleaved(FEEDBACK, 8, causal=False)
  layout = JointInterleaved(FEEDBACK, 8, wanted=Feedback(("lke",)))
  with pytest.raises(ValueError, match="Did you mean 'like'"):
    bound(layout)
  unbound = dataclasses.replace(layout, wanted=Feedback(("like",)))
  unbound = dataclasses.replace(
    unbound, bound_feedback=bound(_LAYOUTS["fused"]).bound_feedback
  )
  with pytest.raises(ValueError, match="is not bound to a data set"):
    _example(unbound)


def test_a_context_goes_before_events():
  layout = _LAYOUTS["interleaved"]
  with_context = dataclasses.replace(layout, context=("age", "sex"))
  feedback = bound(layout).bound_feedback
  with_context = dataclasses.replace(
    with_context, bound_feedback=feedback, bound_shown=feedback
  )
  found = _column(_example(with_context), "next_item")
  assert found == [0, 0, *_column(_example(bound(layout)), "next_item")]
  batch = with_context.request_batch(make_requests([(user_record(), 6)]))
  assert np.count_nonzero(batch["segment_ids_BL"]) == 2 + 12
