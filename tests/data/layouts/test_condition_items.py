# SPDX-License-Identifier: Apache-2.0
"""Conditions and items by hand: what stands where, and what is asked."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import iter_requests, no_requests
from genrec_jax.data.features.encoders import Vocabulary
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.condition_items import ConditionItems
from genrec_jax.data.layouts.conditions import Condition, Conditions
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import GlobalTime
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_HOUR = 3600
# Hours since 1970-01-01; validation from 100, test from 200.
_EVENTS = [
  # user, item, hour, action, scene
  ("u", "a", 1, "like|untimed", None),
  ("u", "b", 2, "click", "1"),
  ("u", "c", 2, "skip", "1"),
  ("u", "d", 9, "click|like", "4"),
  ("u", "b", 30, "click", "1"),
  ("u", "e", 110, "click", "0"),
  ("v", "a", 5, "click", "0"),
  ("v", "d", 40, "skip", "0"),
  ("v", "c", 220, "click", "1"),
  ("w", "e", 205, "click", "1"),
]
_PARTS = (
  Condition("scene", 3),
  Condition("slot", 4),
  Condition("item.author", 2),
)
_QUERIES = ("scene=1", "scene=4,slot=2", "item.author=x", "")
_LAYOUT = ConditionItems(
  taken=Feedback(("click", "like")),
  conditions=Conditions(_PARTS, _QUERIES),
  features=FeatureSet((Feature("item.author", Vocabulary(8)),)),
  max_events=3,
)


@dataclasses.dataclass(frozen=True)
class _Source:
  scenes: bool = True

  def read(self):
    names = ("user", "item", "timestamp", "action", "scene")
    columns = dict(zip(names, zip(*_EVENTS, strict=True), strict=True))
    columns["timestamp"] = [h * _HOUR for h in columns["timestamp"]]
    if not self.scenes:
      del columns["scene"]
    return RawLog(
      events=pl.DataFrame(columns),
      items=pl.DataFrame(
        {"item": list("abcde"), "author": ["x", "x", "y", None, "z"]}
      ),
      actions=["skip", "click", "click|like", "like|untimed"],
      timestamp_unit="s",
    )


def _artifacts(folder, **options):
  split = GlobalTime(
    validation_start=f"{100 * _HOUR:09d}", test_start=f"{200 * _HOUR:09d}"
  )
  prepare(_Source(**options), split, folder)
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


def _batch(layout, artifacts, user):
  record = _record(artifacts, user)
  rows = layout.example(record, artifacts.histories.split.train_end(record))
  ones = np.ones((1, len(rows)), np.int32)
  return layout.batch(rows[None], ones, np.arange(len(rows))[None])


def test_scenes_are_kept_by_event(artifacts):
  assert artifacts.histories.manifest.scenes == ["", "0", "1", "4"]
  assert _record(artifacts, "u")["scene"].tolist() == [0, 2, 2, 3, 2, 1]


def test_tokens_by_hand(layout, artifacts):
  wide = dataclasses.replace(layout, max_events=4)
  batch = _batch(wide, artifacts, "u")
  a, b, d = map(artifacts.catalog.index_of, "abd")
  # The skip of c is no part of the sequence.
  assert batch["item_BL"].tolist() == [[0, a, 0, b, 0, d, 0, b]]
  assert batch["label_BL"].tolist() == [[a, 0, b, 0, d, 0, b, 0]]
  # Authors x and y are known, z and none are not; a has no time and no scene.
  expected = [[0, 0, 1], [2, 1, 1], [3, 2, 0], [2, 2, 1]]
  assert batch["condition_BLP"][0, ::2].tolist() == expected
  assert not batch["condition_BLP"][0, 1::2].any()
  hours = np.array([2, 9, 30]) - 1
  times = [UNKNOWN_TIME, *(hours * _HOUR).tolist()]
  for name in ("time_BL", "query_time_BL"):
    assert batch[name][0].tolist() == np.repeat(times, 2).tolist()
  # The last events are kept.
  short = _batch(layout, artifacts, "u")
  for name, column in short.items():
    if name != "positions_BL":
      np.testing.assert_array_equal(column, batch[name][:, 2:])


def test_queries_by_hand(layout):
  expected = [[2, 0, 0], [3, 3, 0], [0, 0, 1], [0, 0, 0]]
  assert layout.conditions.asked().tolist() == expected
  assert layout.queries == _QUERIES


def test_nothing_after_a_date_is_trained_on(artifacts):
  # At hour 30 exactly: b is after it.
  until = dataclasses.replace(_LAYOUT, until="1970-01-02T06:00:00")
  layouts = {None: _LAYOUT.bind(artifacts), 30: until.bind(artifacts)}
  histories = artifacts.histories
  for hour, layout in layouts.items():
    last = max(
      h
      for _, _, h, action, _ in _EVENTS
      if action != "skip" and h < (hour or 100)
    )
    assert layout.trained_until(histories) == (last - 1) * _HOUR
  batch = _batch(layouts[30], artifacts, "u")
  a, b, d = map(artifacts.catalog.index_of, "abd")
  assert batch["item_BL"].tolist() == [[0, a, 0, b, 0, d]]
  # What is asked later may tell all that was done before.
  (requests,) = iter_requests(histories, "validation", 8)
  asked = layouts[30].request_batch(requests)
  assert asked["item_BL"].tolist() == [[0, b, 0, d, 0, b, 0]]
  nothing = dataclasses.replace(_LAYOUT, until="1970-01-01").bind(artifacts)
  with pytest.raises(
    ValueError, match="no event .* before 1970-01-01: nothing"
  ):
    nothing.trained_until(histories)


def test_requests_end_in_a_condition_of_their_time(layout, artifacts):
  (requests,) = iter_requests(artifacts.histories, "test", 8)
  batch = layout.request_batch(requests)
  a = artifacts.catalog.index_of("a")
  assert batch["item_BL"].tolist() == [[0, a, 0, 0, 0, 0, 0], [0] * 7]
  assert batch["segment_ids_BL"].sum(axis=1).tolist() == [3, 1]
  # Hours 220 and 205 are at 4 and at 13; nobody says which scene it will be.
  assert batch["condition_BLP"][0, 2].tolist() == [0, 1, 0]
  assert batch["condition_BLP"][1, 0].tolist() == [0, 3, 0]
  assert batch["query_time_BL"][0, 2] == (220 - 1) * _HOUR
  assert not batch["label_BL"].any()
  asked = layout.asking_batch(requests)
  np.testing.assert_array_equal(asked["item_BL"], [[0, a, 0, 0, 0, 0], [0] * 6])
  for row in asked["asked_condition_BQP"]:
    np.testing.assert_array_equal(row, layout.conditions.asked())
  times = np.repeat((np.array([[220], [205]]) - 1) * _HOUR, 4, axis=1)
  np.testing.assert_array_equal(asked["asked_time_BQ"], times)


def test_parts_are_hidden_at_random_in_training_alone(artifacts):
  hidden = dataclasses.replace(_LAYOUT.conditions, hidden=0.5)
  layout = dataclasses.replace(_LAYOUT, conditions=hidden).bind(artifacts)
  record = _record(artifacts, "u")
  rng, whole = np.random.default_rng(0), layout.example(record, 5)
  shares = []
  for _ in range(200):
    rows = layout.example(record, 5, rng)
    np.testing.assert_array_equal(rows[:, :5], whole[:, :5])
    kept, there = rows[:, 5:] > 0, whole[:, 5:] > 0
    assert (rows[:, 5:][kept] == whole[:, 5:][kept]).all()
    shares.append(kept[there].mean())
  assert 0.45 < np.mean(shares) < 0.55


def test_packed_batches_have_a_label_at_every_condition(layout, artifacts):
  batch = next(
    training_batches(
      artifacts.histories, layout, batch_size=2, row_length=8, seed=0
    )
  )
  real = batch["segment_ids_BL"] > 0
  np.testing.assert_array_equal(
    batch["label_BL"] > 0, real & (batch["item_BL"] == 0)
  )
  places = batch["positions_BL"][real]
  np.testing.assert_array_equal(places % 2 == 0, batch["item_BL"][real] == 0)


def test_unbound_shapes_are_bound_shapes(layout):
  zeros = np.zeros((2, 8), np.int32)
  rows = np.zeros((2, 8, layout.num_columns), np.int32)
  for make in (
    lambda x: x.batch(rows, zeros, zeros),
    lambda x: x.request_batch(no_requests(3)),
    lambda x: x.asking_batch(no_requests(3)),
  ):
    bound, unbound = make(layout), make(_LAYOUT)
    assert {k: (v.shape, v.dtype) for k, v in bound.items()} == {
      k: (v.shape, v.dtype) for k, v in unbound.items()
    }


def test_a_system_of_other_tables_is_refused():
  tables = {"condition_rows": (4, 5, 3), "item_rows": (10,)}
  _LAYOUT.check_system(ModelByHand(**tables))
  with pytest.raises(ValueError, match=r"config.system.item_rows=\(9,\), and"):
    _LAYOUT.check_system(ModelByHand(**(tables | {"item_rows": (9,)})))


def _with(**changes):
  conditions = dataclasses.replace(_LAYOUT.conditions, **changes)
  return dataclasses.replace(_LAYOUT, conditions=conditions)


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: Condition("seen", 3), "condition of 'seen'. Did you mean 'scene'"),
    (lambda: Condition("item.", 3), "condition of 'item.'"),
    (lambda: Condition("slot", 0), "size=0 must be at least 1"),
    (lambda: _with(queries=("scen=1",)), "has 'scen=1', which must be PART"),
    (lambda: _with(queries=("scene",)), "has 'scene', which must be PART"),
    (lambda: _with(queries=("slot=1,slot=2",)), "has 'slot=1,slot=2'"),
    (lambda: _with(queries=("", "")), "each once"),
    (lambda: _with(hidden=1.0), "hidden=1.0 must be at least 0 and below 1"),
    (
      lambda: dataclasses.replace(_LAYOUT, features=FeatureSet()),
      "must be of items, such as item.id, at least one; got none",
    ),
  ],
)
def test_conditions_that_make_no_sense(make, message):
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"queries": ("scene=2",)}, "scene has no value '2'. .*Choices: 0, 1, 4"),
    ({"queries": ("slot=4",)}, "slot has no value '4'. .*Choices: 0, 1, 2, 3"),
    ({"queries": ("item.author=z",)}, "item.author has no value 'z'"),
    (
      {"parts": (Condition("scene", 2),), "queries": ("",)},
      "has 2 scenes, and the data set 3: set size to at least that",
    ),
  ],
)
def test_queries_that_nobody_can_answer(artifacts, changes, message):
  with pytest.raises(ValueError, match=message):
    _with(**changes).bind(artifacts)


def test_data_without_scenes_are_refused(tmp_path):
  artifacts = _artifacts(tmp_path / "d", scenes=False)
  assert artifacts.histories.manifest.scenes == []
  with pytest.raises(ValueError, match="take a source that reads them"):
    _LAYOUT.bind(artifacts)
