# SPDX-License-Identifier: Apache-2.0
"""Histories as typed tokens, against writing them event by event."""

import dataclasses
import datetime

import numpy as np
import polars as pl
import pytest

from genrec_jax.core.build import build
from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.data import LeaveOneOut, RawLog
from genrec_jax.data.dataset import Catalog, Feedback, Histories
from genrec_jax.data.dataset.impressions import Impressions, no_impressions
from genrec_jax.data.dataset.requests import make_requests, no_requests
from genrec_jax.data.features import (
  AtLeast,
  Feature,
  FeatureSet,
  LogBuckets,
  Percentiles,
  Vocabulary,
)
from genrec_jax.data.layouts.typed_columns import COLUMNS
from genrec_jax.data.layouts.typed_tokens import TypedTokens
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.prepare import prepare
from genrec_jax.data.token_events import TokenEvents
from genrec_jax.data.token_parser import parse, states_of
from tests.data.grammars_by_hand import tokens_of, words_of
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_DAY = 86_400
_START = 1_600_000_000
_ACTIONS = (
  *("", "skip", "click", "like", "click|like", "click|follow", "follow|search"),
  *("untimed", "like|untimed", "click|later:like", "click|unasked"),
)
_BORN = [datetime.date(2020, 8, 1 + 2 * i) for i in range(12)]
_SIZES = (4, 3)
_CODES = np.stack([np.arange(13) % 4, np.arange(13) % 3], 1).astype(np.int32)
_NAMES = {name: place for place, name in enumerate(COLUMNS)}

_LAYOUT = TypedTokens(
  feedback=Feedback(("click", "like")),
  level_sizes=_SIZES,
  max_length=400,
  extras=FeatureSet(
    (
      Feature("age.born", LogBuckets(8, unit=float(_DAY))),
      Feature("recent.id.7", Percentiles(4)),
      Feature("item.author", Vocabulary(5)),
      Feature("affinity.author.follow", AtLeast(1.0)),
    )
  ),
  context=FeatureSet(
    (
      Feature("context.hour", Vocabulary(24)),
      Feature("user.tier", Vocabulary(3)),
    )
  ),
  other=Feedback(("follow", "search")),
  counted=Feedback(("click", "follow")),
  skip_weight=0.25,
)
_FORMS = {
  "whole": {},
  "a_token_per_task": {"combined": False},
  "extras_first": {"extras_first": True},
  "no_context": {"context": FeatureSet(), "weights": {"extra": 0}},
  "four": {"extras": FeatureSet(), "context": FeatureSet(), "other": None},
}


@dataclasses.dataclass(frozen=True)
class _Log:
  """Requests of one to three events, some of which mix."""

  def read(self) -> RawLog:
    rng = np.random.default_rng(0)
    rows = []
    for user in range(7):
      time, request = _START + int(rng.integers(0, 9 * _DAY)), 0
      for event in range(2 + user * 2):
        if rng.random() < 0.6:
          time, request = time + int(rng.integers(1, 2 * _DAY)), request + 1
        mixed = request - int(rng.random() < 0.2)
        action = _ACTIONS[rng.integers(0, len(_ACTIONS))]
        item = f"i{rng.integers(0, 12)}"
        rows.append((user, item, time + event, action, max(mixed, 0)))
    rows += [(7, f"i{i}", _START + i * _DAY, "click", i) for i in range(12)]
    names = ["user", "item", "timestamp", "action", "request"]
    items = {
      "item": [f"i{i}" for i in range(12)],
      "author": ["a", "b", None] * 4,
      "born": [*_BORN[:11], None],
    }
    users = {"user": list(range(8)), "tier": ["x", "y"] * 4}
    return RawLog(
      events=pl.DataFrame(rows, schema=names, orient="row"),
      items=pl.DataFrame(items),
      users=pl.DataFrame(users),
      timestamp_unit="s",
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  folder = tmp_path_factory.mktemp("typed") / "data"
  prepare(_Log(), LeaveOneOut(), folder)
  return ArtifactsByHand(Histories(folder), Catalog(folder), codes_V1M=_CODES)


@pytest.fixture(scope="module")
def layouts(artifacts):
  return {
    name: dataclasses.replace(_LAYOUT, **options).bind(artifacts)
    for name, options in _FORMS.items()
  }


class _ByHand:
  """One event after the other, and nothing but Python."""

  def __init__(self, layout, artifacts):
    self.layout = layout
    self.manifest = artifacts.histories.manifest
    attributes = artifacts.catalog.attributes
    self.authors = [None, *attributes["author"].to_list()]
    self.born = [None, *attributes["born"].to_list()]
    self.training = []
    for user in range(len(artifacts.histories)):
      record = artifacts.histories[user]
      for event in range(artifacts.histories.split.train_end(record)):
        if "untimed" not in self.words(record, event):
          time = int(record["time"][event])
          self.training.append((time, int(record["item"][event])))

  def words(self, record, event):
    return self.manifest.actions[record["action"][event]].split("|")

  def moment(self, record, event):
    """(time, value by feature) of the request of an event."""
    requests = record["request"].tolist()
    first = requests.index(requests[event])
    time = int(record["time"][first])
    item = int(record["item"][event])
    author, born = self.authors[item], self.born[item]
    end = 1 + max(t for t, _ in self.training)
    until = min(time, end)
    followed = 0
    for before in range(first):
      other = self.authors[record["item"][before]]
      followed += other == author and "follow" in self.words(record, before)
    unix = self.manifest.epoch_seconds + time
    values = {
      "age.born": np.nan
      if born is None
      else unix - (born - datetime.date(1970, 1, 1)).days * _DAY,
      "recent.id.7": sum(
        i == item and until - 7 * _DAY <= t < until for t, i in self.training
      ),
      "affinity.author.follow": np.nan if author is None else followed,
      "context.hour": unix // 3600 % 24,
    }
    tables = {
      "item.author": ("items", item),
      "user.tier": ("users", 1 + int(record["user"])),
    }
    rows = {}
    untimed = "untimed" in self.words(record, event)
    for features in (self.layout.extras, self.layout.context):
      place = 0
      for feature in features.features:
        if feature.of in tables:
          table, row = tables[feature.of]
          rows[feature.of] = int(vars(features.fitted)[table][row, 0])
          continue
        encoder = features.fitted.contexts[place][1]
        value = np.array([float(values[feature.of])])
        rows[feature.of] = 0 if untimed else int(encoder.ids(value)[0])
        place += 1
    # The request's time is that of its first event, if it has one.
    if "untimed" in self.words(record, first):
      time = UNKNOWN_TIME
    return time, rows

  def events(self, record, start, end):
    """Rows of TokenEvents as dicts, with what else is known of each."""
    grammar, rows = self.layout.grammar, []
    for event in range(start, end):
      words = self.words(record, event)
      time, told = self.moment(record, event)
      new = event == start or (
        record["request"][event] != record["request"][event - 1]
      )
      known, told_mask, asked_mask = words != [""], 0, 0
      for bit, task in enumerate(self.layout.feedback.tasks):
        told_mask += (task in words) << bit
        asked_mask += (task in words or f"later:{task}" in words) << bit
      untimed = "untimed" in words
      row = {
        "codes_NM": _CODES[record["item"][event]],
        "extra_NE": [told[name] for name, _ in grammar.extras],
        "context_NC": [told[name] * new for name, _ in grammar.context],
        "starts_N": new and bool(grammar.context),
        "action_N": told_mask if known else -1,
        "other_N": 0,
        "item": int(record["item"][event]),
        "asked": known and not untimed and "unasked" not in words,
        "label": asked_mask if known else -1,
        "request_time": time,
        "time": UNKNOWN_TIME if untimed else int(record["time"][event]),
      }
      rows.append(row)
      for kind, name in enumerate(grammar.other):
        if name in words:
          nothing = {k: np.zeros_like(x) for k, x in row.items()}
          times = {k: row[k] for k in ("request_time", "time")}
          rows.append({**nothing, "other_N": kind + 1, **times})
    return rows

  def rows(self, record, end, limit, user):
    """All columns, of the most recent events that fit."""
    grammar, start = self.layout.grammar, end
    while start and self.length(record, start - 1, end) <= limit:
      start -= 1
    events = self.events(record, start, end)
    told = TokenEvents.empty(grammar, len(events))
    asked = TokenEvents.empty(grammar, len(events))
    for n, event in enumerate(events):
      for name, column in vars(told).items():
        column[n] = vars(asked)[name][n] = event[name]
      asked.action_N[n] = event["label"]
    words, wanted = words_of(grammar, told), words_of(grammar, asked)
    whose = [None]
    for n, event in enumerate(events):
      one = {k: v[: n + 1] for k, v in vars(told).items()}
      more = len(words_of(grammar, TokenEvents(**one))) - len(whose)
      whose += [event] * more
    tokens, labels = tokens_of(grammar, words), tokens_of(grammar, wanted)
    found = []
    for t, (name, _) in enumerate(words):
      event, group = whose[t], name.split(" ")[0]
      last = t + 1 == len(words)
      behind = None if last else whose[t + 1]
      own = UNKNOWN_TIME if event is None else event["time"]
      at = UNKNOWN_TIME if event is None else event["request_time"]
      found.append(
        {
          "token": tokens[t],
          "item": event["item"] if group in ("level", "extra", "action") else 0,
          "time": own if group in ("action", "other") else at,
          "query_time": own if last else behind["request_time"],
          "label": 0 if last else labels[t + 1],
          "weight": 0
          if last
          else self.weight(words[t + 1][0].split(" ")[0], behind),
          "user": user,
        }
      )
    return found

  def weight(self, group, event):
    extra = self.layout.weights.get("extra", 0.1)
    weight = {"level": 1, "action": 1, "extra": extra}.get(group, 0)
    if group == "action" and not event["asked"]:
      return 0
    if group == "level" and event["asked"] and event["label"] == 0:
      return weight * 0.25
    return weight

  def length(self, record, start, end):
    """Tokens of bos and these events."""
    grammar, count = self.layout.grammar, 1
    for event in range(start, end):
      words = self.words(record, event)
      count += len(_SIZES) + len(grammar.extras)
      count += 1 if self.layout.combined else 2
      count += sum(name in words for name in grammar.other)
      if event == start or (
        record["request"][event] != record["request"][event - 1]
      ):
        count += len(grammar.context)
    return count


def _column(rows, name):
  column = np.ascontiguousarray(rows[:, _NAMES[name]])
  return (column.view(np.float32) if name == "weight" else column).tolist()


@pytest.mark.parametrize("form", _FORMS)
def test_examples_are_those_written_event_by_event(form, layouts, artifacts):
  whole = layouts[form]
  by_hand = _ByHand(whole, artifacts)
  cut = dataclasses.replace(whole, max_length=5 * len(whole.grammar.block))
  short = 0
  for user in range(len(artifacts.histories)):
    record = artifacts.histories[user]
    for layout in (whole, cut):
      by_hand.layout = layout
      count = len(record["item"])
      assert not len(layout.example(record, 0))
      for end in range(1, count + 1) if layout is cut else [count]:
        rows = layout.example(record, end)
        expected = by_hand.rows(record, end, layout.max_length, user)
        for name in COLUMNS:
          assert _column(rows, name) == pytest.approx(
            [row[name] for row in expected]
          ), (user, end, name)
        parse(layout.grammar, rows[:, 0])
        short += len(rows) < by_hand.length(record, 0, end)
  assert short > 20, "many were cut"


@pytest.mark.parametrize("form", ["whole", "extras_first", "four"])
def test_a_request_is_asked_as_training_asked_it(form, layouts, artifacts):
  """The prompt of an event is what training has before it, and so is a
  candidate what training has of it."""
  layout = layouts[form]
  grammar, asked = layout.grammar, 0
  for user in range(len(artifacts.histories)):
    record = artifacts.histories[user]
    actions = [
      artifacts.histories.manifest.actions[a] for a in record["action"]
    ]
    for event in range(len(record["item"])):
      request = record["request"]
      if request[event] in request[:event] or "untimed" in actions[event]:
        continue
      trained = layout.example(record, event + 1)
      block = np.isin(grammar.type_V[trained[:, 0]], grammar.block)
      # This item's tokens are the last of those of items.
      mine = np.flatnonzero(block)[-len(grammar.block) :]
      requests = make_requests([(record, event)])
      batch = layout.request_batch(requests)
      count = int(batch["segment_ids_BL"].sum())
      assert count == mine[0]
      for name in ("token", "item", "time", "query_time", "user"):
        assert batch[f"{name}_BL"][0, :count].tolist() == (
          _column(trained[:count], name)
        ), (user, event, name)
      assert not batch["label_BL"].any() and not batch["weight_BL"].any()
      assert states_of(grammar, batch["token_BL"][0, :count])[-1] in (
        (grammar.asking,) if grammar.context else grammar.borders
      )
      candidates = np.array([[3, record["item"][event], 0]], np.int32)
      impressions = Impressions(
        requests.user,
        requests.history,
        requests.query_time,
        candidates,
        candidates,
        candidates > 0,
        candidates,
      )
      found = layout.impression_batch(impressions)
      for name, array in batch.items():
        np.testing.assert_array_equal(found[name], array)
      about = mine[: len(grammar.asked)]
      assert found["candidate_token_BNT"][0, 1].tolist() == (
        _column(trained[about], "token")
      )
      assert not found["candidate_token_BNT"][0, 2].any()
      asked += 1
  assert asked > 20


def test_what_comes_later_changes_no_earlier_token(layouts, artifacts):
  layout = layouts["whole"]
  rng = np.random.default_rng(0)
  changed = 0
  for user in range(2, len(artifacts.histories)):
    record = artifacts.histories[user]
    count = len(record["item"])
    for cut in range(1, count):
      other = {name: np.array(x) for name, x in record.items()}
      other["item"][cut:] = rng.integers(1, 13, count - cut)
      other["action"][cut:] = rng.integers(0, len(_ACTIONS), count - cut)
      other["time"][cut:] += 1 + np.cumsum(rng.integers(0, _DAY, count - cut))
      other["request"][cut:] = rng.integers(0, 9, count - cut)
      before = layout.example(record, cut)
      # The last token is asked for nothing, where there is nothing behind it.
      names = [_NAMES[n] for n in ("token", "item", "time", "user")]
      after = layout.example(other, count)[: len(before)]
      np.testing.assert_array_equal(after[:, names], before[:, names])
      labels = [_NAMES[n] for n in ("label", "weight", "query_time")]
      np.testing.assert_array_equal(after[:-1, labels], before[:-1, labels])
      changed += len(layout.example(other, count)) != len(
        layout.example(record, count)
      )
  assert changed


def test_old_requests_that_mix_are_told_apart(layouts, artifacts):
  """Both were made before all events that there is room to look at."""
  layout = dataclasses.replace(layouts["whole"], max_length=40)
  record = {
    name: np.resize(x, 60) for name, x in artifacts.histories[6].items()
  }
  record |= {
    "user": np.array(6, np.int32),
    "request": np.arange(60, dtype=np.int32) % 2,
    "time": np.arange(60, dtype=np.int32),
  }
  events = parse(layout.grammar, layout.example(record, 60)[:, 0])
  assert (events.starts_N == (events.other_N == 0)).all()
  assert (events.other_N == 0).sum() > 2


def test_packed_rows_hold_whole_users(layouts, artifacts):
  layout = dataclasses.replace(layouts["whole"], max_length=60)
  histories = artifacts.histories
  batches = training_batches(
    histories, layout, batch_size=2, row_length=130, seed=0
  )
  expected = {}
  for user in range(len(histories)):
    record = histories[user]
    rows = layout.example(record, histories.split.train_end(record))
    expected[user] = rows
  seen = set()
  for _ in range(8):
    batch = next(batches)
    for row in range(2):
      for segment in range(1, batch["segment_ids_BL"][row].max() + 1):
        mine = batch["segment_ids_BL"][row] == segment
        (user,) = set(batch["user_BL"][row, mine].tolist())
        rows = expected[user]
        for name in COLUMNS:
          found = batch[f"{name}_BL"][row, mine].tolist()
          assert found == _column(rows, name)
        assert batch["positions_BL"][row, mine].tolist() == [*range(len(rows))]
        kinds = layout.grammar.type_V
        token, label = rows[:, 0], rows[:, _NAMES["label"]]
        assert (batch["type_BL"][row, mine] == kinds[token]).all()
        assert (batch["label_type_BL"][row, mine] == kinds[label]).all()
        seen.add(user)
    assert batch["weight_BL"].dtype == np.float32
    assert not batch["weight_BL"][batch["segment_ids_BL"] == 0].any()
  batches.close()
  assert seen == {user for user, rows in expected.items() if len(rows)}


@pytest.mark.parametrize("form", _FORMS)
def test_shapes_are_known_without_data(form, layouts):
  free = dataclasses.replace(_LAYOUT, **_FORMS[form])
  assert free.grammar == layouts[form].grammar
  for layout in (free, layouts[form]):
    batch = layout.request_batch(no_requests(2))
    shape = (2, 400 - len(layout.grammar.block))
    assert {x.shape for x in batch.values()} == {shape}
    # Nobody is asked about with bos and the context alone.
    count = 1 + len(layout.grammar.context)
    assert batch["segment_ids_BL"].sum(axis=1).tolist() == [count] * 2
    found = layout.impression_batch(no_impressions(2, 3))
    tokens = (2, 3, len(layout.grammar.asked))
    assert found["candidate_token_BNT"].shape == tokens


def test_a_config_says_the_grammar_to_both():
  """As it is read again from a workdir, where tuples are lists."""
  feature = {"name": "features.Feature", "of": "age.born"}
  feature["encoder"] = {"name": "features.LogBuckets", "buckets": 16}
  layout = {
    "name": "layouts.TypedTokens",
    "feedback": {"name": "dataset.Feedback", "tasks": ["click"]},
    "level_sizes": [4, 3],
    "max_length": 64,
    "combined": False,
    "extras": {"name": "features.FeatureSet", "features": [feature]},
    "extras_first": True,
    "weights": {"extra": 0.5},
  }
  grammar = {
    "name": "data.TokenGrammar",
    "level_sizes": [4, 3],
    "actions": ["click"],
    "combined": False,
    "extras": [["age.born", 17]],
    "extras_first": True,
  }
  layout = build(layout, where="config.pipeline.layout")
  grammar = build(grammar, where="config.system.grammar")
  assert layout.grammar == grammar and hash(layout.grammar) == hash(grammar)
  layout.check_system(ModelByHand(grammar=grammar))


def test_a_model_must_have_the_same_grammar():
  grammar = _LAYOUT.grammar
  _LAYOUT.check_system(ModelByHand(grammar=grammar))
  with pytest.raises(ValueError, match="lacks grammar"):
    _LAYOUT.check_system(ModelByHand())
  other = dataclasses.replace(grammar, extras_first=True)
  with pytest.raises(ValueError, match="config.system.grammar is .*set it to"):
    _LAYOUT.check_system(ModelByHand(grammar=other))


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"context": _LAYOUT.extras}, "context has 'age.born', and a request has"),
    ({"max_length": 20}, "max_length=20 must be at least 21"),
    ({"skip_weight": 1.5}, "skip_weight=1.5 must lie in 0 .. 1"),
    ({"num_candidates": 0}, "num_candidates=0 must be at least 1"),
    ({"weights": {"levle": 1}}, "'levle'.*Did you mean 'level"),
    ({"level_sizes": ()}, "level_sizes=.* at least one entry"),
  ],
)
def test_options_that_make_no_sense(options, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(_LAYOUT, **options)


def test_data_that_do_not_fit(artifacts):
  with pytest.raises(ValueError, match="no action 'clck'"):
    dataclasses.replace(_LAYOUT, feedback=Feedback(("clck",))).bind(artifacts)
  with pytest.raises(ValueError, match="num_levels=3, and the item tokens"):
    dataclasses.replace(_LAYOUT, level_sizes=(4, 3, 2)).bind(artifacts)


def test_labels_count_where_an_item_was_shown(artifacts, layouts):
  """Of two surfaces that share the events each has its own share of weights."""
  layout, record = layouts["whole"], artifacts.histories[4]
  events = len(record["item"])
  record = {**record, "scene": (np.arange(events) % 2 + 1).astype(np.int32)}
  record["scene"][-1] = 0
  weight = _NAMES["weight"]

  def rows(*numbers):
    one = dataclasses.replace(layout, bound_scenes=np.array(numbers))
    return one.example(record, events)

  whole = layout.example(record, events)
  parts = [rows(number) for number in (0, 1, 2)]
  others = [place for name, place in _NAMES.items() if name != "weight"]
  for found in parts:
    np.testing.assert_array_equal(found[:, others], whole[:, others])
  weights = np.stack([x[:, weight].copy().view(np.float32) for x in parts])
  assert ((weights > 0).sum(axis=0) <= 1).all() and weights.any(axis=1).all()
  summed = whole[:, weight].copy().view(np.float32)
  np.testing.assert_array_equal(weights.sum(axis=0), summed)
  # Of the scene that is not known: the last event, whose tokens come last.
  tokens = len(layout.grammar.context) + len(layout.grammar.block) + 2
  assert not weights[0, :-tokens].any()
  np.testing.assert_array_equal(rows(0, 1, 2), whole)


def test_a_scene_that_the_data_do_not_have_is_refused(artifacts):
  layout = dataclasses.replace(_LAYOUT, scenes=("home",))
  with pytest.raises(ValueError, match="scenes names 'home'.*It has none"):
    layout.bind(artifacts)
