# SPDX-License-Identifier: Apache-2.0
"""Vectors of users and items beside impressions: joined point in time."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import (
  iter_impressions,
  no_impressions,
)
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.dataset.user_vectors import UserAnswers, UserVectors
from genrec_jax.data.features.encoders import Vocabulary
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.layouts.vector_columns import VectorColumns
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import GlobalTime
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_HOUR = 3600
# Hours since 1970-01-01; validation from 100, test from 200.
_EVENTS = [
  ("u", "a", 1, "click"),
  ("u", "b", 20, "skip"),
  ("u", "c", 20, "click"),
  ("u", "a", 45, "click"),
  ("u", "d", 70, "skip"),
  ("u", "b", 110, "skip"),
  ("u", "c", 210, "click"),
  ("v", "a", 31, "click"),
  ("v", "b", 120, "click"),
  ("v", "d", 220, "skip"),
]
_CUTS = (10, 30, 60, 150)
_NAMES, _E = ("scene=1", "scene=2", ""), 3
_COLUMNS = VectorColumns(queries=("", "scene=1"), width=_E)
_LAYOUT = PointwiseRows(
  features=(Feature("item.id", Vocabulary(8)),),
  history_features=("item.id",),
  feedback=Feedback(("click",)),
  max_length=9,
  history_length=2,
  num_candidates=2,
  vectors=_COLUMNS,
  since="1970-01-01T20:00:00",
)


@dataclasses.dataclass(frozen=True)
class _Source:
  def read(self):
    user, item, hour, action = zip(*_EVENTS, strict=True)
    columns = {"user": user, "item": item, "action": action}
    columns["timestamp"] = [h * _HOUR for h in hour]
    return RawLog(
      events=pl.DataFrame(columns),
      actions=["skip", "click"],
      timestamp_unit="s",
    )


def _exported(folder, fingerprint):
  """A row of each user and cut where there is something new."""
  rng = np.random.default_rng(0)
  rows = []
  for user in "uv":
    hours = [h for u, _, h, _ in _EVENTS if u == user]
    known = [(cut, sum(h < cut for h in hours)) for cut in _CUTS]
    rows += [
      (user, cut * _HOUR, count)
      for place, (cut, count) in enumerate(known)
      if not place or count != known[place - 1][1]
    ]
  users, until, events = zip(*rows, strict=True)
  answers = UserAnswers(
    users=users,
    until_R=np.array(until),
    events_R=np.array(events),
    vectors_RQE=rng.normal(size=(len(rows), 3, _E)).astype(np.float32),
    # Nobody told the model of d.
    items=["c", "a", "b"],
    items_VE=rng.normal(size=(3, _E)).astype(np.float32),
  )
  facts = {
    "queries": _NAMES,
    "model": "m",
    "fingerprint": fingerprint,
    "trained_until": 0,
  }
  return UserVectors.make(answers, facts, folder)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  split = GlobalTime(
    validation_start=f"{100 * _HOUR:09d}", test_start=f"{200 * _HOUR:09d}"
  )
  manifest = prepare(_Source(), split, folder / "d")
  catalog = Catalog(folder / "d")
  rng = np.random.default_rng(1)
  return ArtifactsByHand(
    Histories(folder / "d"),
    catalog,
    vectors_V1D=rng.normal(size=(len(catalog.ids), 6)),
    users=_exported(folder / "vectors", manifest.fingerprint),
  )


@pytest.fixture(scope="module")
def layout(artifacts):
  return _LAYOUT.bind(artifacts)


def _expected(known, user, hour, item, events=99):
  """By a loop over what was exported: vectors of a user, and of an item."""
  answers, found = known.answers, np.zeros((2, _E))
  for row, name in enumerate(answers.users):
    if (
      name == user
      and answers.until_R[row] <= hour * _HOUR
      and answers.events_R[row] <= events
    ):
      found = answers.vectors_RQE[row][[2, 0]]
  items = list(answers.items)
  vector = answers.items_VE[items.index(item)] if item in items else 0
  return found, vector


def _batch(layout, rows):
  """One row of a single segment."""
  ones = np.ones((1, len(rows)), np.int32)
  return layout.batch(rows[None], ones, ones - 1)


def test_training_rows_have_the_vectors_of_a_loop(layout, artifacts):
  users, seen = Users(artifacts.histories.directory), []
  source = layout.source(artifacts.histories)
  for number in range(len(source)):
    record = source[number]
    rows = layout.example(record, source.split.train_end(record))
    batch = _batch(layout, rows)
    user = users.ids[int(record["user"])]
    for place in range(len(rows)):
      hour = batch["query_time_BL"][0, place] // _HOUR + 1
      item = artifacts.catalog.ids[batch["item_BL"][0, place]]
      told, vector = _expected(artifacts.users, user, hour, item)
      np.testing.assert_array_equal(batch["user_vectors_BLQE"][0, place], told)
      np.testing.assert_array_equal(batch["item_vector_BLE"][0, place], vector)
      seen.append((user, int(hour), item))
  # Those of hour 1 are before `since`, and history alone.
  expected = [(u, h, i) for u, i, h, _ in _EVENTS if 20 <= h < 100]
  assert sorted(seen) == sorted(expected)
  assert batch["user_vectors_BLQE"].dtype == np.float32


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_scoring_sees_what_was_exported_by_then(
  layout, artifacts, part, frozen
):
  users = Users(artifacts.histories.directory)
  (shown,) = iter_impressions(
    artifacts.histories, part, _LAYOUT.feedback, 8, 2, frozen=frozen
  )
  batch = layout.impression_batch(shown)
  for row, place in np.argwhere(shown.candidates > 0):
    hour = int(shown.query_time[row]) // _HOUR + 1
    item = artifacts.catalog.ids[shown.candidates[row, place]]
    told, vector = _expected(
      artifacts.users,
      users.ids[shown.user[row]],
      hour,
      item,
      # Behind a frozen history no more is known than it tells.
      events=len(shown.history[row]["item"]),
    )
    np.testing.assert_array_equal(batch["user_vectors_BLQE"][row, place], told)
    np.testing.assert_array_equal(batch["item_vector_BLE"][row, place], vector)
    assert told.any()
  (requests,) = iter_requests(artifacts.histories, "test", 8)
  asked = layout.request_batch(requests)
  assert asked["user_vectors_BLQE"].any() and not asked["item_vector_BLE"].any()


def test_vectors_made_after_an_impression_are_refused_by_both_times(artifacts):
  early = dataclasses.replace(_LAYOUT, since=None).bind(artifacts)
  record = artifacts.histories[
    Users(artifacts.histories.directory).index_of("u")
  ]
  with pytest.raises(
    ValueError,
    match="made of user 'u' at 1970-01-01 10:00:00 UTC, and are asked for at"
    " 1970-01-01 01:00:00 UTC: they know what came after.*missing='zeros'",
  ):
    early.example(record, 5)
  columns = dataclasses.replace(_COLUMNS, missing="zeros")
  late = dataclasses.replace(early, vectors=columns.bind(artifacts))
  rows = late.example(record, 5)
  batch = _batch(late, rows)
  assert not batch["user_vectors_BLQE"][0, 0].any()
  assert batch["user_vectors_BLQE"][0, 1:].any(axis=(1, 2)).all()


def test_nobody_has_zeros(layout, artifacts):
  asked = dataclasses.replace(
    no_impressions(1, 2),
    user=np.array([-1], np.int32),
    candidates=np.array([[artifacts.catalog.index_of("a"), 0]], np.int32),
    query_time=np.array([300 * _HOUR], np.int32),
  )
  batch = layout.impression_batch(asked)
  assert not batch["user_vectors_BLQE"].any()
  assert batch["item_vector_BLE"][0, 0].any()
  assert not batch["item_vector_BLE"][0, 1].any()


def test_content_is_that_of_the_item(artifacts):
  columns = VectorColumns(content_width=6)
  layout = dataclasses.replace(_LAYOUT, vectors=columns).bind(artifacts)
  assert layout.num_columns == _LAYOUT.num_columns - 1
  items = np.array([[3, 0, 1]])
  batch = layout.vectors.batch(np.zeros((1, 3, 0), np.int32), items)
  np.testing.assert_array_equal(
    batch["content_BLC"], artifacts.vectors_V1D[items].astype(np.float32)
  )


def test_unbound_shapes_are_bound_shapes(artifacts):
  columns = dataclasses.replace(_COLUMNS, content_width=6)
  unbound = dataclasses.replace(_LAYOUT, vectors=columns)
  asked = no_impressions(3, 2)
  found = unbound.impression_batch(asked)
  bound = unbound.bind(artifacts).impression_batch(asked)
  assert {k: (v.shape, v.dtype) for k, v in found.items()} == {
    k: (v.shape, v.dtype) for k, v in bound.items()
  }


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"queries": ("scene=3",)}, "names the query 'scene=3', which the model m"),
    ({"width": 4}, "vectors.width=4, and the vectors that there are have 3"),
    ({"content_width": 5}, "content_width=5, and the vectors .* have 6"),
  ],
)
def test_vectors_that_are_not_there(artifacts, changes, message):
  columns = dataclasses.replace(_COLUMNS, **changes)
  with pytest.raises(ValueError, match=message):
    columns.bind(artifacts)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({}, "name a query or a width"),
    ({"queries": ("", "")}, "each query once"),
    ({"queries": ("",), "missing": "zero"}, "Did you mean 'zeros'"),
    ({"content_width": -1}, "content_width=-1 must be at least 0"),
  ],
)
def test_columns_that_make_no_sense(options, message):
  with pytest.raises(ValueError, match=message):
    VectorColumns(**options)


def test_a_system_reads_what_it_is_given():
  tables = {
    name: getattr(_LAYOUT, name)
    for name in ("feature_rows", "history_columns", "num_actions", "num_tasks")
  }
  _LAYOUT.check_system(ModelByHand(reads_vectors=("users",), **tables))
  for says in ({}, {"reads_vectors": ("users", "content")}):
    with pytest.raises(ValueError, match="gives \\('users',\\): they must be"):
      _LAYOUT.check_system(ModelByHand(**says, **tables))
