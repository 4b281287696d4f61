# SPDX-License-Identifier: Apache-2.0
"""Lists beside others of their month, by the calendar and the records."""

import datetime

import numpy as np

from genrec_jax.data.dataset.month_lists import MonthLists
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.dataset.target_lists import Baskets, lists_of_part
from genrec_jax.data.dataset.user_part import UserPart
from genrec_jax.data.layouts.labelled_lists import LabelledLists
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.splits import TimeCut
from tests.data.layouts.parts_by_hand import ArtifactsByHand

_DAY = 86_400
_START = int(datetime.datetime(2011, 1, 20, tzinfo=datetime.UTC).timestamp())
_RULE = Baskets(size=2, least=1)


class _Manifest:
  epoch_seconds = _START
  actions = ("",)


class _Histories:
  """40 users, a basket every third week or so; 30 days validate."""

  split = TimeCut(100 * _DAY, 130 * _DAY)
  manifest = _Manifest()

  def __len__(self):
    return 40

  def __getitem__(self, user):
    rng = np.random.default_rng(user)
    days = np.sort(rng.choice(150, 8, replace=False))
    request = np.repeat(np.arange(8), 2).astype(np.int32)
    return {
      "user": np.array(user, np.int32),
      # Items tell whose they are, and of which request.
      "item": (1 + user * 16 + np.arange(16)).astype(np.int32),
      "time": (days[request] * _DAY).astype(np.int32),
      "request": request,
    }

  def __repr__(self):
    return "_Histories()"


_ARTIFACTS = ArtifactsByHand(_Histories())


def _whose(items):
  """(user, year, month) of a list of items."""
  user, place = divmod(int(items[0]) - 1, 16)
  record = _Histories()[user]
  moment = _START + int(record["time"][place])
  then = datetime.datetime.fromtimestamp(moment, datetime.UTC)
  return user, (then.year, then.month)


def test_lists_stand_beside_others_of_their_month_and_of_trained_users():
  part = UserPart(0)
  layout = LabelledLists(6, _RULE, part, others=3).bind(_ARTIFACTS)
  batches = training_batches(
    layout.source(_Histories()), layout, batch_size=4, row_length=6, seed=0
  )
  drawn, short = {}, 0
  for _ in range(150):
    batch = next(batches)
    assert (batch["segment_ids_BL"].max(axis=1) == 1).all()
    for b in range(4):
      user = int(batch["user_BL"][b, 0])
      own, *others = batch["list_item_BNJ"][b]
      own_user, month = _whose(own)
      assert own_user == user and part.has(user)
      history = batch["item_BL"][b][batch["segment_ids_BL"][b] > 0]
      # What is read ends right before the list.
      assert history[-1] == own[0] - 1
      assert history[0] >= user * 16 + 1
      there = [x for x in others if x[0]]
      short += len(there) < 3
      assert len({tuple(x) for x in there}) == len(there)
      for other in there:
        theirs, when = _whose(other)
        assert theirs != user and when == month and part.has(theirs)
      drawn.setdefault(tuple(own), set()).update(tuple(x) for x in there)
      assert batch["label_BN"][b].tolist() == [1, 0, 0, 0]
      labelled = [1] + [int(x[0] > 0) for x in others]
      assert batch["labelled_BN"][b].tolist() == labelled
  batches.close()
  # January has few lists with a history; others are drawn anew.
  assert short and max(map(len, drawn.values())) > 6


def test_held_out_lists_stand_beside_others_of_the_same_part():
  layout = LabelledLists(6, _RULE, UserPart(0), others=3).bind(_ARTIFACTS)
  other = UserPart(1)
  pairs = [*lists_of_part(_Histories(), "validation", _RULE, None, other)]
  found = layout.held_out(pairs, seed=0)
  assert found.shape == (len(pairs), 4, 2) and len(pairs) > 20
  for (record, x), lists in zip(pairs, found, strict=True):
    assert lists[0].tolist() == x.items.tolist()
    _, month = _whose(lists[0])
    for items in lists[1:][lists[1:, 0] > 0]:
      user, when = _whose(items)
      assert other.has(user) and user != record["user"] and when == month
      time = _Histories()[user]["time"][(int(items[0]) - 1) % 16]
      assert 100 * _DAY <= time < 130 * _DAY
  np.testing.assert_array_equal(layout.held_out(pairs, seed=0), found)
  assert not np.array_equal(layout.held_out(pairs, seed=1), found)


class _Written:
  """Of the second retriever lists that say for what they were written."""

  def columns(self, names, where):
    assert names == ("b",) and where.endswith("layout.written")
    return np.array([1])

  def of(self, user, events):
    (event,) = events
    own = _Histories()[user]["item"][event : event + 2]
    # Every third list is the one that followed, in another order.
    items = own[::-1] if event % 3 == 0 else [user + 1, event]
    return np.array([[[7, 7, 7], [*items, 5]]])


def test_what_was_written_for_a_history_stands_beside_what_followed():
  artifacts = ArtifactsByHand(_Histories(), lists=_Written())
  layout = LabelledLists(6, _RULE, UserPart(0), 1, ("b",)).bind(artifacts)
  source = layout.source(_Histories())
  same = 0
  for record in map(source.__getitem__, range(len(source))):
    rows = layout.example(record, int(record["end"]))
    written = rows[0, -2:].tolist()
    event = int(record["end"])
    if event % 3 == 0:
      assert written == [0, 0]
      same += 1
    else:
      assert written == [int(record["user"]) + 1, event]
  assert 0 < same < len(source)
  pairs = [*lists_of_part(_Histories(), "validation", _RULE, None)]
  for (record, x), lists in zip(pairs, layout.held_out(pairs, 0), strict=True):
    if x.end % 3:
      assert lists[-1].tolist() == [int(record["user"]) + 1, x.end]


def test_a_request_has_the_last_items_and_no_lists():
  layout = LabelledLists(6, _RULE, others=3).bind(_ARTIFACTS)
  record = _Histories()[3]
  batch = layout.request_batch(make_requests([(record, 4), (record, 15)]))
  for row, end in enumerate((4, 15)):
    read = batch["item_BL"][row][batch["segment_ids_BL"][row] > 0]
    assert read.tolist() == record["item"][:end][-6:].tolist()
  assert not batch["list_item_BNJ"].any() and not batch["labelled_BN"].any()


def test_draws_are_even_and_of_nobody_twice():
  users = np.array([5, 5, 1, 2, 3, 9])
  moments = np.array([0, 1, 2, 3, 4, 40 * _DAY])
  months = MonthLists.of(users, moments, np.arange(1, 13).reshape(6, 2), 0)
  rng = np.random.default_rng(0)
  counts = {}
  for _ in range(900):
    for items in months.others(5, 9, rng, 2):
      counts[int(items[0])] = counts.get(int(items[0]), 0) + 1
  assert set(counts) == {5, 7, 9}
  assert max(abs(n - 600) for n in counts.values()) < 60
  assert months.others(9, 40 * _DAY, rng, 2).tolist() == [[0, 0], [0, 0]]
