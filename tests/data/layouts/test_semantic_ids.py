# SPDX-License-Identifier: Apache-2.0
"""Histories as codes: every target once, nothing of the future, right codes."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.semantic_id_prefixes import (
  Prefixes,
  TokenPrefixes,
)
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.splits import LeaveOneOut

_SIZES = (5, 6)
_CODES = np.stack([np.arange(20) % 5, np.arange(20) % 6], 1).astype(np.int32)
_STARTS = np.array([0, 5])


class _Histories:
  """Users of 1 to 7 events; the last two do not train."""

  split = LeaveOneOut()

  def __len__(self):
    return 12

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    items = rng.integers(1, 20, 1 + user % 7).astype(np.int32)
    return {"user": np.array(user, np.int32), "item": items}

  def __repr__(self):
    return "_Histories()"


def _pairs():
  """(user, history, target) of every training prefix."""
  histories = _Histories()
  for user in range(len(histories)):
    items = histories[user]["item"]
    for end in range(1, histories.split.train_end(histories[user])):
      yield user, items[:end].tolist(), int(items[end])


def test_prefixes_are_all_training_pairs_once():
  layout = TokenPrefixes(20, _SIZES, codes=_CODES)
  source = layout.source(_Histories())
  found = []
  for i in range(len(source)):
    record = source[i]
    end = source.split.train_end(record)
    items = record["item"][:end].tolist()
    found.append((int(record["user"]), items[:-1], items[-1]))
  assert found == list(_pairs())
  with pytest.raises(IndexError, match="out of range"):
    source[len(source)]
  assert repr(source) == "Prefixes(_Histories())"


@pytest.mark.parametrize("users", [0, 3])
def test_packed_prefixes_hold_each_history_and_its_target(users):
  layout = TokenPrefixes(3, _SIZES, users, max_segments=2, codes=_CODES)
  batches = training_batches(
    layout.source(_Histories()), layout, batch_size=2, row_length=14, seed=0
  )
  wanted = {
    (user, tuple(history[-3:]), target) for user, history, target in _pairs()
  }
  found = set()
  for _ in range(60):
    batch = next(batches)
    for row in range(2):
      for place, segment in enumerate(batch["target_segment_BS"][row]):
        if not segment:
          assert batch["target_item_BS"][row, place] == 0
          continue
        mine = batch["segment_ids_BL"][row] == segment
        tokens = batch["token_BL"][row, mine]
        (user,) = set(batch["user_BL"][row, mine].tolist())
        if users:
          assert tokens[0] == sum(_SIZES) + user % users
          tokens = tokens[1:]
        codes = tokens.reshape(-1, 2) - _STARTS[None]
        target = int(batch["target_item_BS"][row, place])
        assert (batch["target_codes_BSM"][row, place] == _CODES[target]).all()
        matches = [
          w
          for w in wanted
          if w[0] == user
          and w[2] == target
          and (_CODES[list(w[1])] == codes).all()
          if len(w[1]) == len(codes)
        ]
        assert matches
        found |= set(matches)
  batches.close()
  assert found == wanted


@given(st.lists(st.integers(1, 19), max_size=9), st.integers(2, 6))
def test_a_whole_history_has_a_target_at_all_items_but_the_first(items, n):
  layout = TokenHistory(n, 2, _CODES)
  record = {"user": np.array(1, np.int32), "item": np.array(items, np.int32)}
  rows = layout.example(record, len(items))
  if len(items) < 2:
    assert len(rows) == 0
    return
  assert rows[:, 0].tolist() == items[-n:]
  length = len(rows)
  batch = layout.batch(
    rows[None], np.ones((1, length), int), np.arange(length)[None]
  )
  assert batch["target_item_BS"][0].tolist() == [0, *items[-n:][1:]]
  assert (batch["codes_BLM"][0] == _CODES[items[-n:]]).all()


def test_a_request_has_no_target_and_leaves_room_for_one():
  record = {
    "user": np.array(4, np.int32),
    "item": np.arange(1, 9, dtype=np.int32),
  }
  requests = make_requests([(record, 7), (record, 2)])
  batch = TokenHistory(4, 2, _CODES).request_batch(requests)
  assert batch["item_BL"].tolist() == [[5, 6, 7, 0], [1, 2, 0, 0]]
  assert not batch["target_item_BS"].any()
  layout = TokenPrefixes(4, _SIZES, 3, codes=_CODES)
  batch = layout.request_batch(requests)
  assert not batch["target_item_BS"].any()
  assert batch["segment_ids_BL"].sum(axis=1).tolist() == [9, 5]
  assert batch["token_BL"][1, 0] == sum(_SIZES) + 4 % 3


def test_an_unknown_user_has_no_token():
  layout = TokenPrefixes(4, _SIZES, 3, codes=_CODES)
  record = {
    "user": np.array(-1, np.int32),
    "item": np.array([2, 3], np.int32),
  }
  batch = layout.request_batch(make_requests([(record, 1)]))
  assert batch["segment_ids_BL"].sum() == 2


def test_too_many_targets_in_a_row_are_an_error():
  layout = TokenPrefixes(2, _SIZES, max_segments=1, codes=_CODES)
  rows = np.zeros((1, 4, 3), np.int32)
  rows[0, [1, 3], 1] = 7
  with pytest.raises(ValueError, match="a row holds 2 targets; max_segments=1"):
    layout.batch(rows, np.array([[1, 1, 2, 2]]), np.array([[0, 1, 0, 1]]))


def test_users_of_one_event_have_no_prefix():
  class _Short(_Histories):
    def __getitem__(self, user):
      return {"user": np.array(user), "item": np.ones(1, np.int32)}

  assert len(Prefixes(_Short())) == 0
