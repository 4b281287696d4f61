# SPDX-License-Identifier: Apache-2.0
"""Rows with audiences: point in time, alike in training and use, transposed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.audience import Audience
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import (
  iter_impressions,
  no_impressions,
)
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.features.encoders import Vocabulary
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.audience_rows import AudienceRows
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import GlobalTime
from genrec_jax.layers.history_pooling import SumPooling, TargetAttention
from genrec_jax.layers.interactions import Concat
from genrec_jax.models.feature_ranker import FeatureRanker
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_SIDES = ("user", "item")
_COUNTS = {"user": 7, "item": 5}
_KINDS = {"user": [*"xyxxzyz"], "item": [*"ppqrq"]}
_VALIDATION, _TEST = 70, 90
_ACTIONS = ["skip", "click", "like"]
_FEEDBACK = Feedback(("click", "like"))


def _feature(of):
  return Feature(of, Vocabulary(8))


_UCR = AudienceRows(
  features=tuple(map(_feature, ("user.id", "user.kind", "item.kind"))),
  history_features=(),
  feedback=_FEEDBACK,
  max_length=4,
  history_length=1,
  num_candidates=3,
  audience=Audience(length=3),
  audience_features=("user.id", "user.kind"),
)
_ICR = PointwiseRows(
  features=tuple(map(_feature, ("item.id", "item.kind", "user.kind"))),
  history_features=("item.id", "item.kind"),
  feedback=_FEEDBACK,
  max_length=4,
  history_length=3,
  num_candidates=3,
)


@dataclasses.dataclass(frozen=True)
class _Source:
  """A random log; `swapped` calls its users items and its items users."""

  at_once: bool
  swapped: bool = False

  def log(self):
    rng = np.random.default_rng(3)
    count = 110
    # One event a moment, or several of anybody.
    time = rng.integers(0, 40, count) * 3 if self.at_once else np.arange(count)
    columns = {s: rng.integers(0, _COUNTS[s], count) for s in _SIDES}
    columns |= {"time": time, "action": rng.integers(0, 3, count)}
    # Whoever met an item twice at once is said to have met it once.
    keys = np.stack([columns[name] for name in (*_SIDES, "time")])
    once = np.sort(np.unique(keys, axis=1, return_index=True)[1])
    return {name: column[once] for name, column in columns.items()}

  def read(self):
    log = self.log()
    user, item = _SIDES[::-1] if self.swapped else _SIDES
    tables = {
      name: pl.DataFrame(
        {
          key: [f"{name}{i}" for i in range(_COUNTS[name])],
          "kind": _KINDS[name],
        }
      )
      for name, key in ((user, "user"), (item, "item"))
    }
    return RawLog(
      events=pl.DataFrame(
        {
          "user": [f"{user}{i}" for i in log[user]],
          "item": [f"{item}{i}" for i in log[item]],
          "timestamp": log["time"],
          "action": np.array(_ACTIONS)[log["action"]],
        }
      ),
      items=tables[item].with_columns(title=pl.lit("")),
      users=tables[user],
      actions=_ACTIONS,
      timestamp_unit="s",
    )


def _artifacts(folder, source):
  split = GlobalTime(
    validation_start=f"{_VALIDATION:09d}", test_start=f"{_TEST:09d}"
  )
  prepare(source, split, folder)
  return ArtifactsByHand(Histories(folder), Catalog(folder))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  return _artifacts(tmp_path_factory.mktemp("data") / "d", _Source(True))


@pytest.fixture(scope="module")
def layout(artifacts):
  return _UCR.bind(artifacts)


def _names(artifacts):
  """Names of indices: of users from 0, of items from 1."""
  users = Users(artifacts.histories.directory).ids
  return users, artifacts.catalog.ids


def _told(item, until, names):
  """(user, mask) of the raw log's events of an item before a moment."""
  log, (users, items) = _Source(True).log(), names
  number = int(items[item].removeprefix("item"))
  found = [
    (int(time), 1 + users.index(f"user{user}"), (0, 1, 2)[action])
    for user, met, time, action in zip(
      log["user"], log["item"], log["time"], log["action"], strict=True
    )
    if met == number and time < until
  ]
  # Of one moment by user; of one user and moment in the order of the file.
  return [told[1:] for told in sorted(found, key=lambda told: told[:2])]


def _check(batch, row, place, until, epoch, names):
  item = int(batch["item_BL"][row, place])
  told = _told(item, until + epoch, names)[-3:]
  told += [(0, 0)] * (3 - len(told))
  mine = (
    batch[f"audience_{what}_BLH"][row, place] for what in ("user", "action")
  )
  assert [*zip(*mine, strict=True)] == told
  return told


def _training_batch(layout, artifacts, index):
  source = layout.source(artifacts.histories)
  record = source[index]
  rows = layout.example(record, source.split.train_end(record))
  ones = np.ones((1, len(rows)), np.int32)
  return layout.batch(rows[None], ones, ones)


def test_lists_of_training_rows_are_those_of_the_raw_log(layout, artifacts):
  epoch = artifacts.histories.manifest.epoch_seconds
  names, lengths = _names(artifacts), set()
  for index in range(len(layout.source(artifacts.histories))):
    batch = _training_batch(layout, artifacts, index)
    for place, time in enumerate(batch["query_time_BL"][0].tolist()):
      told = _check(batch, 0, place, time, epoch, names)
      lengths.add(sum(user > 0 for user, _ in told))
    users = batch["audience_user_BLH"] - 1
    rows = layout.fitted.users[users + 1]
    np.testing.assert_array_equal(batch["audience_features_BLHG"], rows)
  assert lengths == {0, 1, 2, 3}


def test_training_and_scoring_see_the_same(layout, artifacts):
  scored = {}
  for asked in iter_impressions(artifacts.histories, "train", _FEEDBACK, 4, 3):
    batch = layout.impression_batch(asked)
    assert not batch["audience_user_BLH"][asked.candidates == 0].any()
    for row, place in np.argwhere(asked.candidates > 0):
      key = int(asked.user[row]), int(asked.event[row, place])
      scored[key] = {k: v[row, place] for k, v in batch.items()}
  count = 0
  for index in range(len(layout.source(artifacts.histories))):
    record = layout.source(artifacts.histories)[index]
    batch, first = _training_batch(layout, artifacts, index), record["first"]
    for place in range(batch["item_BL"].shape[1]):
      found = scored[int(record["user"]), int(first) + place]
      count += 1
      for name in ("audience_user_BLH", "audience_action_BLH", "features_BLF"):
        np.testing.assert_array_equal(found[name], batch[name][0, place])
  assert count == len(scored) > 40


@pytest.mark.parametrize("frozen", [False, True])
def test_of_the_test_part_what_was_known(layout, artifacts, frozen):
  """Frozen: nothing since the user's first event of the part, of anybody."""
  epoch, names = artifacts.histories.manifest.epoch_seconds, _names(artifacts)
  shorter = 0
  for asked in iter_impressions(
    artifacts.histories, "test", _FEEDBACK, 4, 3, frozen=frozen
  ):
    # Padding of a batch asks nothing.
    padded = layout.impression_batch(asked.padded(6))
    assert not padded["audience_user_BLH"][len(asked) :].any()
    for row, place in np.argwhere(asked.candidates > 0):
      record = artifacts.histories[int(asked.user[row])]
      until = int(asked.query_time[row])
      if frozen:
        begin = artifacts.histories.split.targets(record, "test")[0]
        shorter += until > record["time"][begin]
        until = int(record["time"][begin])
      _check(padded, row, place, until, epoch, names)
  assert bool(shorter) == frozen


def test_requests_without_an_item_have_no_audience(layout, artifacts):
  requests = next(iter_requests(artifacts.histories, "test", 2))
  batch = layout.request_batch(requests)
  assert batch["audience_user_BLH"].shape == (2, 1, 3)
  assert not batch["audience_user_BLH"].any()
  assert batch["features_BLF"][..., 0].all()


def test_unbound_shapes_are_bound_shapes(layout):
  zeros = np.zeros((2, 5), np.int32)
  rows = np.zeros((2, 5, layout.num_columns), np.int32)
  for make in (
    lambda x: x.impression_batch(no_impressions(3, 2)),
    lambda x: x.batch(rows, zeros, zeros),
  ):
    bound, unbound = make(layout), make(_UCR)
    assert {k: (v.shape, v.dtype) for k, v in bound.items()} == {
      k: (v.shape, v.dtype) for k, v in unbound.items()
    }
    assert all(v.dtype == np.int32 and not v.any() for v in bound.values())


def _ranker(pooling, of):
  tables = {"feature_rows": _UCR.feature_rows, "num_actions": 2, "num_tasks": 2}
  lists = {"history_columns": (0, 1), "pooling": pooling}
  if of == "audience":
    lists = {
      "history_columns": (),
      "pooling": SumPooling(),
      "audience_columns": (0, 1),
      "audience_pooling": pooling,
    }
  return FeatureRanker(
    num_items=5,
    width=4,
    interactions=Concat(),
    tower_widths=(8,),
    embedding_init_std=0.5,
    **tables,
    **lists,
  )


def _batches(layout, artifacts):
  """All training rows as one batch, in the order of their times."""
  found = []
  for index in range(len(layout.source(artifacts.histories))):
    batch = _training_batch(layout, artifacts, index)
    found += [
      {k: v[0, place] for k, v in batch.items()}
      for place in range(batch["item_BL"].shape[1])
    ]
  found.sort(key=lambda row: int(row["time_BL"]))
  return {
    k: jnp.asarray(np.stack([row[k] for row in found])[None]) for k in found[0]
  }


@pytest.mark.parametrize("pooling", [SumPooling(), TargetAttention((4,))])
def test_users_of_items_are_items_of_users_of_the_transposed_log(
  pooling, tmp_path
):
  """The same arrays, and with the same weights the same logits to the bit."""
  mine = _artifacts(tmp_path / "log", _Source(False))
  theirs = _artifacts(tmp_path / "transposed", _Source(False, swapped=True))
  ucr = _batches(_UCR.bind(mine), mine)
  icr = _batches(_ICR.bind(theirs), theirs)
  assert ucr["item_BL"].shape == (1, _VALIDATION)
  for ours, other in (
    ("features_BLF", "features_BLF"),
    ("audience_features_BLHG", "history_features_BLHG"),
    ("audience_action_BLH", "history_action_BLH"),
    ("label_BL", "label_BL"),
  ):
    np.testing.assert_array_equal(ucr[ours], icr[other])
  np.testing.assert_array_equal(
    ucr["audience_user_BLH"] > 0, icr["history_item_BLH"] > 0
  )
  users, items = (_ranker(pooling, of) for of in ("audience", "history"))
  init = jax.jit(lambda key: items.init(key, icr, deterministic=True))
  params = init(jax.random.key(0))["params"]
  renamed = {"action": "audience_action", "pooling": "audience_pooling"}
  same = {renamed.get(name, name): x for name, x in params.items()}
  logits = [
    jax.jit(lambda p, b, m=m: m.apply({"params": p}, b, method="score"))(p, b)
    for m, p, b in ((items, params, icr), (users, same, ucr))
  ]
  np.testing.assert_array_equal(*logits)
  assert np.unique(logits[0]).size > _VALIDATION


def test_a_system_that_reads_other_lists_is_refused():
  own = {
    "feature_rows": _UCR.feature_rows,
    "history_columns": (),
    "num_actions": 2,
    "num_tasks": 2,
  }
  _UCR.check_system(ModelByHand(**own, audience_columns=(0, 1)))
  with pytest.raises(ValueError, match="lacks audience_columns, which"):
    _UCR.check_system(ModelByHand(**own))
  with pytest.raises(ValueError, match=r"config\.system\.audience_columns="):
    _UCR.check_system(ModelByHand(**own, audience_columns=()))
  # Rows without an audience, and a model that would read one.
  own |= {"feature_rows": _ICR.feature_rows, "history_columns": (0, 1)}
  with pytest.raises(ValueError, match=r"config\.system\.audience_columns="):
    _ICR.check_system(ModelByHand(**own, audience_columns=(2,)))


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ((), "audience_features is empty: name features of users"),
    (("item.kind",), "choose among the user features, user.id, user.kind"),
  ],
)
def test_features_that_no_user_has(names, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(_UCR, audience_features=names)
