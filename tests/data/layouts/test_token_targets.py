# SPDX-License-Identifier: Apache-2.0
"""A history's targets in one example: those of prefixes, each with its own."""

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.token_targets import TokenTargets
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.splits import LeaveOneOut

_SIZES = (5, 6)
_CODES = np.stack([np.arange(20) % 5, np.arange(20) % 6], 1).astype(np.int32)
_STARTS = np.array([0, 5])
_SEEN, _EVENTS = 3, 5


def _layout(**fields):
  return TokenTargets(_SEEN, _SIZES, max_events=_EVENTS, codes=_CODES, **fields)


class _Histories:
  """Users of 1 to 11 events; the last two do not train."""

  split = LeaveOneOut()

  def __len__(self):
    return 11

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    items = rng.integers(1, 20, 1 + user).astype(np.int32)
    return {"user": np.array(user, np.int32), "item": items}

  def __repr__(self):
    return "_Histories()"


def _prefixes():
  """(user, events seen, target) of prefixes, those that nobody cuts."""
  histories = _Histories()
  layout = TokenPrefixes(_SEEN, _SIZES, codes=_CODES, with_items=True)
  source = layout.source(histories)
  for i in range(len(source)):
    record = source[i]
    end = source.split.train_end(record)
    rows = layout.example(record, end)
    user = int(record["user"])
    train = histories.split.train_end(histories[user])
    start = max(0, train - 1 - _EVENTS)
    if end - 1 >= start + (_SEEN if start else 1):
      yield user, tuple(rows[::2, 3].tolist()), int(rows[-1, 1])


def test_targets_are_those_of_prefixes_with_what_those_see():
  layout = _layout(with_items=True)
  batches = training_batches(
    layout.source(_Histories()), layout, batch_size=2, row_length=14, seed=0
  )
  found = set()
  for _ in range(40):
    batch = next(batches)
    assert batch["target_item_BS"].shape == (2, 7)
    np.testing.assert_array_equal(
      batch["target_codes_BSM"], _CODES[batch["target_item_BS"]]
    )
    for b, s in zip(*np.nonzero(batch["target_segment_BS"]), strict=True):
      mine = batch["segment_ids_BL"][b] == batch["target_segment_BS"][b, s]
      first, end = batch["target_first_BS"][b, s], batch["target_end_BS"][b, s]
      place = batch["positions_BL"][b]
      mine &= (place >= first) & (place < end)
      items = batch["item_BL"][b, mine][::2]
      codes = batch["token_BL"][b, mine].reshape(-1, 2) - _STARTS[None]
      np.testing.assert_array_equal(codes, _CODES[items])
      (user,) = set(batch["user_BL"][b, mine].tolist())
      target = int(batch["target_item_BS"][b, s])
      found.add((user, tuple(items.tolist()), target))
    none = batch["target_segment_BS"] == 0
    assert not batch["target_item_BS"][none].any()
  batches.close()
  assert found == set(_prefixes())
  assert len(found) == 25


def test_a_request_is_that_of_prefixes():
  record = {"user": np.array(4, np.int32), "item": np.arange(1, 9)}
  record["item"] = record["item"].astype(np.int32)
  requests = make_requests([(record, 7), (record, 2)])
  prefixes = TokenPrefixes(_SEEN, _SIZES, codes=_CODES)
  expected = prefixes.request_batch(requests)
  found = _layout().request_batch(requests)
  for name in ("token_BL", "user_BL", "segment_ids_BL", "positions_BL"):
    np.testing.assert_array_equal(found[name], expected[name])
  assert not found["target_item_BS"].any()


def test_options_that_cannot_be_name_themselves():
  with pytest.raises(ValueError, match="max_events=2 must be at least"):
    TokenTargets(3, _SIZES, max_events=2)
  with pytest.raises(ValueError, match="num_user_tokens=7: here events"):
    TokenTargets(3, _SIZES, num_user_tokens=7, max_events=3)
  zeros = np.zeros((1, 5), np.int32)
  with pytest.raises(ValueError, match="rows of 5 tokens are no whole number"):
    _layout().batch(np.zeros((1, 5, 3), np.int32), zeros, zeros)


def test_a_user_of_one_event_has_no_example():
  record = _Histories()[0]
  assert _layout().example(record, 1).shape == (0, 3)
