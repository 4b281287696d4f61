# SPDX-License-Identifier: Apache-2.0
"""Rows of features: by hand, without the future, alike in training and use."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import (
  Impressions,
  iter_impressions,
  no_impressions,
)
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.features.encoders import (
  MISSING,
  UNSEEN,
  Hashed,
  Percentiles,
  Vocabulary,
)
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import GlobalTime
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_HOUR = 3600
_ACTIONS = ["skip", "click", "click|like", "like|untimed"]
# Hours since 1970-01-01; validation from 100, test from 200.
_EVENTS = [
  # user, item, hour, action
  ("u", "a", 1, "like|untimed"),
  ("u", "b", 2, "click"),
  ("u", "c", 2, "skip"),
  ("u", "a", 7, None),
  ("u", "d", 9, "click|like"),
  ("u", "b", 110, "skip"),
  ("u", "e", 210, "click"),
  ("v", "a", 5, "click"),
  ("v", "b", 120, "click"),
  ("v", "d", 220, "skip"),
  ("w", "e", 205, "click"),
]
_ITEMS = pl.DataFrame(
  {
    "item": ["a", "b", "c", "d", "e"],
    "title": [""] * 5,
    "author": ["x", "x", "y", None, "z"],
    "tags": [["p"], ["p", "q"], [], None, ["p"]],
    "length": [10.0, 20.0, None, 20.0, 9.0],
  }
)
_USERS = pl.DataFrame({"user": ["u", "v", "w"], "active": ["high", None, "no"]})
_FEATURES = (
  Feature("item.author", Vocabulary(8)),
  Feature("context.hour", Vocabulary(24)),
  Feature("user.active", Vocabulary(8)),
  Feature("item.id", Vocabulary(8)),
  Feature("item.count", Percentiles(4)),
  Feature("context.gap", Percentiles(4)),
  Feature("context.events", Vocabulary(8)),
  Feature("context.past_like", Vocabulary(8)),
  Feature("user.id", Hashed(64)),
  Feature("affinity.author.click", Vocabulary(8)),
)
_LAYOUT = PointwiseRows(
  features=_FEATURES,
  history_features=("item.id", "item.author"),
  feedback=Feedback(("click", "like")),
  max_length=2,
  history_length=3,
  num_candidates=2,
)


@dataclasses.dataclass(frozen=True)
class _Source:
  events: tuple = tuple(_EVENTS)

  def read(self):
    user, item, hour, action = zip(*self.events, strict=True)
    return RawLog(
      events=pl.DataFrame(
        {
          "user": user,
          "item": item,
          "timestamp": [h * _HOUR for h in hour],
          "action": action,
        }
      ),
      items=_ITEMS,
      users=_USERS,
      actions=_ACTIONS,
      timestamp_unit="s",
    )


def _artifacts(folder, events=_EVENTS):
  split = GlobalTime(
    validation_start=f"{100 * _HOUR:09d}", test_start=f"{200 * _HOUR:09d}"
  )
  prepare(_Source(tuple(events)), split, folder)
  return ArtifactsByHand(Histories(folder), Catalog(folder))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  return _artifacts(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture(scope="module")
def layout(artifacts):
  return _LAYOUT.bind(artifacts)


def _record(artifacts, user):
  users = Users(artifacts.histories.directory)
  return artifacts.histories[users.index_of(user)]


def _rows(layout, artifacts, user):
  """A batch of one row: all labelled training events of a user."""
  layout = dataclasses.replace(layout, max_length=9)
  record = _record(artifacts, user)
  rows = layout.example(record, artifacts.histories.split.train_end(record))
  ones = np.ones((1, len(rows)), np.int32)
  return layout.batch(rows[None], ones, ones)


def test_rows_by_hand(layout, artifacts):
  index = artifacts.catalog.index_of
  a, b, c, d = map(index, "abcd")
  batch = _rows(layout, artifacts, "u")
  # Event a (untimed) and the second a (unknown) are history alone.
  np.testing.assert_array_equal(batch["item_BL"], [[b, c, d]])
  np.testing.assert_array_equal(batch["label_BL"], [[1, 0, 3]])
  np.testing.assert_array_equal(batch["labelled_BL"], [[1, 1, 1]])
  hours = batch["query_time_BL"] / _HOUR + 1
  np.testing.assert_array_equal(hours, [[2, 2, 9]])
  # b and c were shown together: neither is in the other's history.
  np.testing.assert_array_equal(
    batch["history_item_BLH"][0], [[a, 0, 0], [a, 0, 0], [b, c, a]]
  )
  np.testing.assert_array_equal(
    batch["history_action_BLH"][0], [[2, 0, 0], [2, 0, 0], [1, 0, 0]]
  )
  names = [f.of for f in _FEATURES]
  by_name = dict(zip(names, batch["features_BLF"][0].T, strict=True))
  # By count in training: x 4 (a 3, b 1), y 1; d has no author.
  np.testing.assert_array_equal(by_name["item.author"], [2, 3, MISSING])
  assert by_name["item.id"][0] != by_name["item.id"][1]
  # Hours 2, 2 and 9 of u, 5 of v: the most common first, then in order.
  np.testing.assert_array_equal(by_name["context.hour"], [2, 2, 4])
  # The event before b and c is untimed, v's first has none before it.
  assert by_name["context.gap"].tolist() == [MISSING, MISSING, 1 + 4]
  np.testing.assert_array_equal(by_name["context.events"], [2, 2, 4])
  np.testing.assert_array_equal(by_name["context.past_like"], [2, 2, 2])
  assert len(set(by_name["user.id"].tolist())) == 1


def test_more_may_be_shown_of_the_past_than_is_predicted(artifacts):
  layout = dataclasses.replace(
    _LAYOUT,
    features=_FEATURES[:4],
    feedback=Feedback(("click",)),
    shown=Feedback(("like", "click")),
  ).bind(artifacts)
  batch = _rows(layout, artifacts, "u")
  np.testing.assert_array_equal(batch["label_BL"], [[1, 0, 1]])
  np.testing.assert_array_equal(
    batch["history_action_BLH"][0], [[1, 0, 0], [1, 0, 0], [2, 0, 0]]
  )
  assert (layout.num_tasks, layout.num_actions) == (1, 2)


def test_every_labelled_training_event_once(layout, artifacts):
  source = layout.source(artifacts.histories)
  found = []
  for i in range(len(source)):
    record = source[i]
    rows = layout.example(record, source.split.train_end(record))
    assert 0 < len(rows) <= layout.max_length
    found += [(int(r[1]), int(r[0])) for r in rows]
  number = Users(artifacts.histories.directory).index_of
  item = artifacts.catalog.index_of
  expected = [("u", "b"), ("u", "c"), ("u", "d"), ("v", "a")]
  assert sorted(found) == sorted((number(u), item(i)) for u, i in expected)
  with pytest.raises(IndexError, match="out of range"):
    source[len(source)]
  batches = training_batches(source, layout, batch_size=2, row_length=4, seed=0)
  batch = next(batches)
  assert batch["labelled_BL"].sum() >= 4
  # Packed padding has no features.
  assert not batch["features_BLF"][batch["segment_ids_BL"] == 0].any()


def test_training_and_scoring_see_the_same(layout, artifacts):
  """The training part as requests: everything but labels is equal."""
  found = {}
  for impressions in iter_impressions(
    artifacts.histories, "train", _LAYOUT.feedback, 2, 2
  ):
    batch = layout.impression_batch(impressions)
    assert not batch["label_BL"].any() and not batch["labelled_BL"].any()
    for row, place in np.argwhere(impressions.candidates > 0):
      key = (impressions.user[row], impressions.event[row, place])
      found[tuple(map(int, key))] = {k: v[row, place] for k, v in batch.items()}
    padding = impressions.candidates == 0
    assert not any(v[padding].any() for v in batch.values())
  assert len(found) == 4
  for user in "uv":
    record, batch = _record(artifacts, user), _rows(layout, artifacts, user)
    for place, item in enumerate(batch["item_BL"][0]):
      events = np.flatnonzero(record["item"] == item)
      event = next(e for e in events if (int(record["user"]), int(e)) in found)
      scored = found[int(record["user"]), int(event)]
      for name in scored:
        if name.startswith(("item", "user", "query", "features", "history")):
          np.testing.assert_array_equal(scored[name], batch[name][0, place])


def test_one_request_a_row_has_its_history_once(artifacts):
  one = dataclasses.replace(
    _LAYOUT, one_request=True, max_length=4, history_seconds="request"
  ).bind(artifacts)
  source = one.source(artifacts.histories)
  each = dataclasses.replace(one, one_request=False)
  found = []
  for i in range(len(source)):
    record = source[i]
    rows = one.example(record, source.split.train_end(record))
    ones = np.ones((1, len(rows)), np.int32)
    batch = one.batch(rows[None], ones, ones)
    user = artifacts.histories[int(record["user"])]
    expected = _rows(each, artifacts, "uv"[int(record["user"])])
    for place, item in enumerate(batch["item_BL"][0]):
      events = user["item"][each.fitted.feedback.asked(user)]
      at = events.tolist().index(item)
      found.append((int(record["user"]), int(item)))
      for name, values in batch.items():
        mine = 0 if name.startswith("history_") else place
        assert values.shape[1] == (1 if mine != place else values.shape[1])
        np.testing.assert_array_equal(values[0, mine], expected[name][0, at])
  assert len(found) == len({*found}) == 4
  assert batch["history_item_BLH"].shape == (1, 1, 3)
  batches = training_batches(source, one, batch_size=2, row_length=4, seed=0)
  batch = next(batches)
  assert batch["segment_ids_BL"].max() == 1
  assert batch["history_features_BLHG"].shape == (2, 1, 3, 2)
  # Before `since` events are history alone, here as elsewhere.
  record = _record(artifacts, "u")
  late = dataclasses.replace(one, since_seconds=int(record["time"][4]))
  (last,) = late.source(artifacts.histories)
  rows = late.example(last, source.split.train_end(last))
  assert rows[:, 0].tolist() == [record["item"][4]]
  assert rows[0, 6:9].tolist() == record["item"][1:4].tolist()
  # What candidates are asked behind, and themselves.
  (shown, *_) = iter_impressions(
    artifacts.histories, "train", _LAYOUT.feedback, 2, 2
  )
  history, asked = one.apart(one.impression_batch(shown))
  theirs, same = each.apart(each.impression_batch(shown))
  assert asked.keys() == same.keys() and asked["features_BLF"].shape[1] == 2
  for name, values in history.items():
    np.testing.assert_array_equal(values, theirs[name])
  for name, values in asked.items():
    np.testing.assert_array_equal(values, same[name])


@pytest.mark.parametrize("one_request", [False, True])
def test_what_was_shown_before_a_date_is_history_alone(artifacts, one_request):
  # The hour of v's only event of the training part.
  layout = dataclasses.replace(
    _LAYOUT, one_request=one_request, since="1970-01-01T05:00:00"
  ).bind(artifacts)
  source, ids, found = layout.source(artifacts.histories), [], []
  users = Users(artifacts.histories.directory).ids
  for index in range(len(source)):
    record = source[index]
    rows = layout.example(record, source.split.train_end(record))
    ids += [users[row] for row in rows[:, 1]]
    found += [artifacts.catalog.ids[row] for row in rows[:, 0]]
  assert sorted(zip(ids, found, strict=True)) == [("u", "d"), ("v", "a")]


def test_nothing_of_the_request_or_after_it_is_read(
  layout, artifacts, tmp_path
):
  """Other answers, and other events later: the same rows but for the labels."""
  new = {("u", 2): "click|like", ("u", 9): "skip"}
  changed = [(u, i, h, new.get((u, h), w)) for u, i, h, w in _EVENTS]
  record = _record(artifacts, "u")
  other = _record(_artifacts(tmp_path / "d", changed), "u")
  assert (record["action"] != other["action"]).sum() == 3
  late = {k: v.copy() for k, v in record.items()}
  late["item"][5:], late["action"][5:] = 1, 3
  wide = dataclasses.replace(layout, max_length=9)
  columns = [c for c in range(layout.num_columns) if c != 4]
  first = wide.example(record, 5)
  # Events 1 and 2 are one request, 4 is another, which sees 1 and 2.
  np.testing.assert_array_equal(
    wide.example(other, 5)[:2, columns], first[:2, columns]
  )
  assert (wide.example(other, 5)[2, columns] != first[2, columns]).any()
  np.testing.assert_array_equal(wide.example(late, 5), first)


def test_a_request_says_what_an_impression_does_but_for_the_item(
  layout, artifacts
):
  (requests,) = iter_requests(artifacts.histories, "test", 8)
  batch = layout.request_batch(requests)
  shown = layout.impression_batch(
    Impressions(
      user=requests.user,
      history=requests.history,
      query_time=requests.query_time,
      candidates=requests.target[:, None],
      labels=np.zeros_like(requests.target)[:, None],
      known=np.zeros((len(requests), 1), bool),
      event=requests.event[:, None],
    )
  )
  assert layout.item_columns == (0, 3, 4)
  items = list(layout.item_columns)
  assert shown["features_BLF"][..., items].any() and shown["item_BL"].all()
  # Without an item there is no affinity to it.
  affinity = [f.side for f in _FEATURES].index("affinity")
  assert shown["features_BLF"][..., affinity].any()
  shown["features_BLF"][..., [*items, affinity]] = shown["item_BL"][:] = 0
  for name, expected in shown.items():
    np.testing.assert_array_equal(batch[name], expected, err_msg=name)
  # What items are, for a system that searches them.
  assert layout.init_data().shape == (1 + len(artifacts.catalog.ids[1:]), 3)
  assert not layout.init_data()[0].any() and layout.init_data()[1:].any()


def test_towers_that_do_not_meet_have_no_affinity(layout):
  names = ("feature_rows", "history_columns", "num_actions", "num_tasks")
  system = ModelByHand(
    item_columns=layout.item_columns,
    **{name: getattr(layout, name) for name in names},
  )
  with pytest.raises(ValueError, match="affinity.author.click is of user and"):
    layout.check_system(system)


def test_unseen_and_unknown_never_fail(layout, artifacts):
  impressions = no_impressions(1, 2)
  index = artifacts.catalog.index_of
  asked = dataclasses.replace(
    impressions,
    user=np.array([-1], np.int32),
    candidates=np.array([[index("e"), 0]], np.int32),
    query_time=np.array([300 * _HOUR], np.int32),
  )
  batch = layout.impression_batch(asked)
  names = [f.of for f in _FEATURES]
  ids = dict(zip(names, batch["features_BLF"][0, 0].tolist(), strict=True))
  # e never trained, and nobody knows the user; hour 13 never trained.
  assert ids["item.id"] == ids["item.author"] == ids["context.hour"] == UNSEEN
  assert ids["user.id"] == ids["user.active"] == ids["context.gap"] == MISSING
  assert ids["context.events"] > UNSEEN  # v's first event had none before it
  assert not batch["history_item_BLH"].any()
  # "e" alone is unseen among items, "no" among users.
  assert layout.fitted.unseen["item.id"] == 1
  assert layout.fitted.unseen["user.active"] == 1


def test_unbound_shapes_are_bound_shapes(layout):
  asked = no_impressions(3, 2)
  zeros = np.zeros((2, 5), np.int32)
  rows = np.zeros((2, 5, layout.num_columns), np.int32)
  for make in (
    lambda x: x.impression_batch(asked),
    lambda x: x.batch(rows, zeros, zeros),
  ):
    bound, unbound = make(layout), make(_LAYOUT)
    assert {k: (v.shape, v.dtype) for k, v in bound.items()} == {
      k: (v.shape, v.dtype) for k, v in unbound.items()
    }
    assert all(v.dtype == np.int32 and not v.any() for v in bound.values())


def test_lists_are_values_and_numbers_need_no_text(artifacts):
  features = (
    Feature("item.tags", Vocabulary(9)),
    Feature("item.length", Percentiles(2)),
  )
  layout = dataclasses.replace(_LAYOUT, features=features, history_features=())
  rows = layout.bind(artifacts).fitted.items
  index = artifacts.catalog.index_of
  tags = [rows[index(i), 0] for i in "abcd"]
  assert len(set(tags)) == 4 and tags[3] == MISSING
  # a has length 10 thrice in training: the heavy value, alone.
  length = [rows[index(i), 1] for i in "abcde"]
  assert length[0] == 3 and length[2] == MISSING and length[1] == length[3]


def test_a_system_of_other_tables_is_refused():
  rows = _LAYOUT.feature_rows
  system = ModelByHand(
    feature_rows=rows,
    history_columns=_LAYOUT.history_columns,
    num_actions=2,
    num_tasks=2,
  )
  assert _LAYOUT.history_columns == (3, 0) and rows[1] == 26
  _LAYOUT.check_system(system)
  system.feature_rows = rows[1:]
  with pytest.raises(ValueError, match=r"config\.system\.feature_rows="):
    _LAYOUT.check_system(system)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"history_features": ("user.id",)}, "choose among the item features"),
    ({"features": _FEATURES + _FEATURES[:1]}, "name each once"),
    ({"max_length": 0}, "max_length=0 must be at least 1"),
  ],
)
def test_layouts_that_make_no_sense(changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(_LAYOUT, **changes)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("item.autor", "no feature 'item.autor'. Did you mean 'author'"),
    ("user.activ", "Did you mean 'active'"),
    ("context.past_lik", "Did you mean 'past_like'"),
  ],
)
def test_a_feature_that_is_not_there(artifacts, name, message):
  layout = dataclasses.replace(
    _LAYOUT, features=(Feature(name, Hashed(4)),), history_features=()
  )
  with pytest.raises(ValueError, match=message):
    layout.bind(artifacts)


def test_a_feature_without_a_side():
  with pytest.raises(ValueError, match=r"must be SIDE\.NAME"):
    Feature("author", Hashed(4))
