# SPDX-License-Identifier: Apache-2.0
"""Lists behind histories: rows, packing, requests, by the records alone."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.dataset.target_lists import Baskets, TrainingLists
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.features.watch_percentiles import WatchPercentiles
from genrec_jax.data.layouts.list_targets import ListTargets
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.splits import LeaveOneOut

_SIZES = (5, 6)
_CODES = np.stack([np.arange(20) % 5, np.arange(20) % 6], 1).astype(np.int32)
_ACTIONS = ("", "skip", "buy")
_RULE = Baskets(size=3, least=2, wanted=Feedback(("buy",)))
_LAYOUT = ListTargets(
  4, _SIZES, max_segments=2, codes=_CODES, lists=_RULE, with_items=True,
  wanted=_RULE.wanted.bind(_ACTIONS),
)  # fmt: skip


class _Histories:
  split = LeaveOneOut()

  def __len__(self):
    return 12

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    request = np.sort(rng.integers(0, 6, 20)).astype(np.int32)
    return {
      "user": np.array(user, np.int32),
      "item": rng.integers(1, 20, 20).astype(np.int32),
      "request": request,
      "action": rng.integers(1, 3, 20).astype(np.int32),
    }

  def __repr__(self):
    return "_Histories()"


def _expected(users=None):
  """(user, what is read, list) of every training list."""
  histories = _Histories()
  lists = TrainingLists.of(histories, _RULE, _LAYOUT.wanted, users)
  for user, end, items in zip(
    lists.user_N, lists.end_N, lists.items_NJ, strict=True
  ):
    record = histories[int(user)]
    read = record["item"][:end][record["action"][:end] == 2][-4:]
    yield int(user), tuple(read.tolist()), tuple(items.tolist())


@pytest.mark.parametrize("users", [None, UserPart(0)])
def test_a_batch_has_each_list_beside_its_history(users):
  layout = dataclasses.replace(_LAYOUT, users=users)
  batches = training_batches(
    layout.source(_Histories()), layout, batch_size=2, row_length=20, seed=0
  )
  found = set()
  for _ in range(60):
    batch = next(batches)
    np.testing.assert_array_equal(
      batch["target_codes_BSM"], _CODES[batch["target_item_BS"]]
    )
    segments = batch["target_segment_BS"].reshape(2, 2, 3)
    targets = batch["target_item_BS"].reshape(2, 2, 3)
    for b, s in zip(*np.nonzero(segments[:, :, 0]), strict=True):
      assert len(set(segments[b, s].tolist())) == 1
      mine = batch["segment_ids_BL"][b] == segments[b, s, 0]
      items = batch["item_BL"][b, mine][::2]
      codes = batch["token_BL"][b, mine].reshape(-1, 2) - np.array([[0, 5]])
      np.testing.assert_array_equal(codes, _CODES[items])
      (user,) = set(batch["user_BL"][b, mine].tolist())
      found.add((user, tuple(items.tolist()), tuple(targets[b, s].tolist())))
    assert not targets[segments == 0].any()
    # No row has a history without a list.
    assert (batch["segment_ids_BL"].max(1) == segments[:, :, 0].max(1)).all()
  batches.close()
  wanted = set(_expected(users))
  assert found == wanted and len(wanted) > 10
  assert any(0 in items for *_, items in wanted)


def test_a_request_reads_wanted_events_alone():
  record = _Histories()[3]
  requests = make_requests([(record, 14), (record, 0)])
  batch = _LAYOUT.request_batch(requests)
  read = record["item"][:14][record["action"][:14] == 2][-4:]
  assert batch["item_BL"][0, : 2 * len(read) : 2].tolist() == read.tolist()
  assert batch["segment_ids_BL"][0].sum() == 2 * len(read) > 0
  assert not batch["segment_ids_BL"][1].any()
  assert not batch["target_item_BS"].any()


def test_a_row_of_more_lists_than_places_is_an_error():
  rows = np.zeros((1, 6, _LAYOUT.num_columns), np.int32)
  rows[0, [1, 3, 5], 1] = 9
  segments = np.array([[1, 1, 2, 2, 3, 3]], np.int32)
  with pytest.raises(ValueError, match="a row holds 3 lists; max_segments=2"):
    _LAYOUT.batch(rows, segments, segments)


def test_what_is_told_of_single_targets_is_refused():
  watched = Watched(WatchPercentiles("duration"), ("buy",))
  with pytest.raises(ValueError, match="layout.watched: nothing is told of"):
    dataclasses.replace(_LAYOUT, watched=watched)
