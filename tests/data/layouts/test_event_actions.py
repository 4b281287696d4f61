# SPDX-License-Identifier: Apache-2.0
"""What a layout tells of actions, which events it asks for, and how much they
count, against loops over a log."""

import dataclasses
import types

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests, no_requests
from genrec_jax.data.layouts import EventGroups, NextItem, NextItemCodes
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.serving.given_history import GivenHistory

_ACTIONS = ("view", "cart", "purchase")
_WORDS = ("view", "view|cart", "purchase", "return", "view|later:cart")


class _Shop:
  """Two users of 24 events; of the second's first one nothing is known."""

  def read(self) -> RawLog:
    rows = [
      (f"u{u}", f"i{(5 * u + e) % 23}", e * 60, _words(u, e), float(e % 4))
      for u in range(2)
      for e in range(24)
    ]
    names = ["user", "item", "timestamp", "action", "value"]
    return RawLog(events=pl.DataFrame(rows, names, orient="row"))


def _words(user, event):
  return "" if (user, event) == (1, 0) else _WORDS[event % 5]


def _done(user, event):
  return {w for w in _words(user, event).split("|") if ":" not in w} - {""}


@pytest.fixture(scope="module")
def histories(tmp_path_factory):
  directory = tmp_path_factory.mktemp("shop") / "data"
  prepare(_Shop(), LeaveOneOut(), directory, min_user_events=1,
          min_item_events=1)  # fmt: skip
  return Histories(directory)


class _Artifacts(types.SimpleNamespace):
  """A data set of which nothing else was made."""

  catalog, directories = None, {}

  def vectors(self):
    raise AssertionError("not asked for")

  collaborative = text_tokens = codes = vectors
  retriever_lists = user_vectors = vectors


def _bound(histories, layout):
  return layout.bind(_Artifacts(histories=histories))


def _arrays(layout, rows):
  """The batch of one example."""
  segments = np.ones((1, len(rows)), np.int32)
  batch = layout.batch(rows[None], segments, segments)
  return {name: x[0] for name, x in batch.items()}


def test_inputs_labels_and_weights_by_hand(histories):
  layout = _bound(
    histories,
    NextItem(
      10,
      actions=_ACTIONS,
      target_actions=("purchase", "cart", "return"),
      action_weights={"purchase": 5, "view": 0.5, "cart": 0.25},
      value_weight=True,
    ),
  )
  record = histories[0]
  found = _arrays(layout, layout.example(record, 24))
  heaviest = {"purchase": 5, "view": 0.5, "cart": 0.25, "return": 1}
  for place, event in enumerate(range(13, 23)):
    done, after = _done(0, event), _done(0, event + 1)
    bits = sum((a in done) << t for t, a in enumerate(_ACTIONS))
    assert found["action_BL"][place] == bits
    wanted = bool(after & {"purchase", "cart", "return"})
    label = record["item"][event + 1] if wanted else 0
    assert found["label_BL"][place] == label
    if wanted:
      weight = max(heaviest[a] for a in after) * ((event + 1) % 4)
      assert found["weight_BL"][place] == np.float32(weight)
  assert found["weight_BL"].dtype == np.float32
  assert (found["label_BL"] > 0).sum() == 6


def test_what_is_off_is_not_there(histories):
  plain = _bound(histories, NextItem(10))
  rows = plain.example(histories[0], 24)
  assert rows.shape == (10, 5) and rows.dtype == np.int32
  assert {*_arrays(plain, rows)} == {
    *("item_BL", "label_BL", "time_BL", "query_time_BL", "user_BL"),
    *("segment_ids_BL", "positions_BL"),
  }
  everything = _bound(
    histories,
    NextItem(10, actions=_ACTIONS, action_weights={"view": 0.5},
             groups=EventGroups(3, 4)),
  )  # fmt: skip
  rows = everything.example(histories[0], 9)
  np.testing.assert_array_equal(rows[:, :5], plain.example(histories[0], 9))


def test_who_has_no_label_is_no_example(histories):
  layout = _bound(histories, NextItem(10, target_actions=("return",)))
  assert len(layout.example(histories[0], 3)) == 0
  assert len(layout.example(histories[0], 4)) == 3


@pytest.mark.parametrize("groups", [None, EventGroups(3, 4)])
def test_a_history_that_is_given_back_asks_as_the_stored_one(histories, groups):
  layout = _bound(histories, NextItem(10, actions=_ACTIONS, groups=groups))
  record, catalog = histories[0], Catalog(histories.directory)
  manifest = histories.manifest
  table = pl.DataFrame(
    {
      "item_id": [catalog.ids[i] for i in record["item"]],
      "action": [manifest.actions[a] for a in record["action"]],
      "time": record["time"] + manifest.epoch_seconds,
    }
  )
  one = np.zeros(1, np.int32)

  def asked(record):
    return layout.request_batch(Requests(one, one, [record], one + 9999, one))

  stored = asked(record)
  given = asked(GivenHistory.of(table).record(manifest, catalog))
  for name in stored:
    np.testing.assert_array_equal(given[name], stored[name], name)
  done = [_done(0, e) for e in range(24)]
  bits = [sum((a in d) << t for t, a in enumerate(_ACTIONS)) for d in done]
  if groups is None:
    assert stored["action_BL"][0].tolist() == bits[14:]
  else:
    members = stored["group_action_BNG"][0, :4].reshape(-1).tolist()
    assert stored["action_BL"][0, 4:10].tolist() == bits[18:]
    assert members == bits[6:18]


def test_an_event_without_an_action_is_an_error_or_what_is_said(histories):
  plain = NextItem(30, actions=_ACTIONS)
  said = "event 0 of a history has no action.*Choices: .*purchase"
  strict = _bound(histories, plain)
  with pytest.raises(ValueError, match=said):
    strict.example(histories[1], 24)
  catalog = Catalog(histories.directory)
  ids = GivenHistory.of(["i1", "i2"]).record(histories.manifest, catalog)
  one = np.zeros(1, np.int32)
  asked = Requests(one, one, [ids], one, one)
  with pytest.raises(ValueError, match=said):
    strict.request_batch(asked)
  taken = dataclasses.replace(plain, missing_action="cart")
  batch = _bound(histories, taken).request_batch(asked)
  assert batch["action_BL"][0, :3].tolist() == [2, 2, 0]
  # As a label too.
  record = {k: v for k, v in histories[1].items()}
  record["action"] = np.zeros(24, np.int32)
  for wanted, count in (("cart", 22), ("view", 0)):
    layout = NextItem(30, target_actions=(wanted,), missing_action="cart")
    assert len(_bound(histories, layout).example(record, 23)) == count


def test_who_is_not_asked_has_no_actions(histories):
  layout = _bound(histories, NextItem(10, actions=_ACTIONS))
  batch = layout.request_batch(no_requests(2))
  assert not batch["action_BL"].any() and batch["action_BL"].shape == (2, 10)


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"actions": ("buy",)}, "layout.actions: .*no action 'buy'.*purchase"),
    ({"target_actions": ("cartt",)}, "target_actions: .*Did you mean 'cart'"),
    ({"action_weights": {"sell": 2}}, "action_weights: .*no action 'sell'"),
    (
      {"actions": ("view",), "missing_action": "none"},
      "missing_action: .*no action 'none'",
    ),
    ({"missing_action": "view"}, "asks for no actions: leave it out"),
  ],
)
def test_an_action_that_never_occurs_is_an_error(histories, options, said):
  with pytest.raises(ValueError, match=said):
    _bound(histories, NextItem(10, **options))


def test_data_without_what_is_asked_for(histories):
  fields = {"item": "int32"}
  manifest = dataclasses.replace(histories.manifest, fields=fields)
  bare = types.SimpleNamespace(manifest=manifest)
  with pytest.raises(ValueError, match="the data set has none: map a column"):
    _bound(bare, NextItem(10, actions=("view",)))
  with pytest.raises(ValueError, match="has no values: map a column"):
    _bound(bare, NextItem(10, value_weight=True))


@pytest.mark.parametrize("weight", [-1, np.inf, np.nan, "1", True])
def test_a_weight_is_a_number(weight):
  with pytest.raises(ValueError, match=r"action_weights\['view'\]=.* number"):
    NextItem(10, action_weights={"view": weight})


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_a_value_that_weighs_is_a_number(histories, value):
  layout = NextItem(30, value_weight=True, target_actions=("purchase",))
  layout = _bound(histories, layout)
  record = {k: v.copy() for k, v in histories[0].items()}
  record["value"][[0, 5]] = value  # No labels: the first event, and a view.
  assert len(layout.example(record, 24)) == 23
  record["value"][7] = value
  with pytest.raises(ValueError, match="event 7 of user 0 has value"):
    layout.example(record, 24)


def test_losses_of_codes_read_no_weights():
  for options in ({"groups": EventGroups(3, 2)}, {"value_weight": True}):
    with pytest.raises(ValueError, match="NextItemCodes has no groups"):
      NextItemCodes(max_length=10, num_levels=2, **options)
