# SPDX-License-Identifier: Apache-2.0
"""What requests look for, in training as in scoring, and content of items."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import iter_impressions, no_impressions
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.features.encoders import Vocabulary
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.layouts.queries import LastTaken, RequestQuery
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import GlobalTime
from tests.data.layouts.parts_by_hand import ArtifactsByHand, ModelByHand

_HOUR, _ASKS = 3600, "query|unasked"
# Hours since 1970; validation from 100, test from 200. A request an hour.
_EVENTS = [
  # user, item, hour, action
  ("u", "red pen", 1, _ASKS),
  ("u", "a", 1, "click"),
  ("u", "b", 1, "skip"),
  ("u", "c", 2, "skip"),
  ("u", "a", 2, "skip"),
  ("u", "old map", 3, _ASKS),
  ("u", "b", 3, "click|like"),
  ("u", "red pen", 110, _ASKS),
  ("u", "c", 110, "click"),
  ("u", "old map", 210, _ASKS),
  ("u", "a", 210, "skip"),
  ("v", "c", 4, "skip"),
  ("v", "a", 5, "click"),
  ("v", "b", 120, "click"),
  ("v", "c", 220, "skip"),
]
_LAYOUT = PointwiseRows(
  features=(Feature("item.id", Vocabulary(8)),),
  history_features=("item.id",),
  feedback=Feedback(("click",)),
  max_length=9,
  history_length=6,
  num_candidates=2,
)
_ASKED = dataclasses.replace(_LAYOUT, query=RequestQuery())
_TAKEN = dataclasses.replace(_LAYOUT, query=LastTaken("click"))


@dataclasses.dataclass(frozen=True)
class _Source:
  def read(self):
    user, item, hour, action = zip(*_EVENTS, strict=True)
    times = [h * _HOUR for h in hour]
    return RawLog(
      events=pl.DataFrame(
        {"user": user, "item": item, "timestamp": times, "action": action}
      ),
      timestamp_unit="s",
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data") / "d"
  split = GlobalTime(
    validation_start=f"{100 * _HOUR:09d}", test_start=f"{200 * _HOUR:09d}"
  )
  prepare(_Source(), split, folder)
  catalog = Catalog(folder)
  vectors = np.arange(catalog.num_items + 1, dtype=np.float32)[:, None]
  return ArtifactsByHand(Histories(folder), catalog, vectors)


def _trained(layout, artifacts, user):
  """(item, query) of a user's labelled training events, by id."""
  layout = layout.bind(artifacts)
  users = Users(artifacts.histories.directory)
  record = artifacts.histories[users.index_of(user)]
  rows = layout.example(record, artifacts.histories.split.train_end(record))
  ones = np.ones((1, len(rows)), np.int32)
  batch = layout.batch(rows[None], ones, ones)
  ids = artifacts.catalog.ids
  pairs = zip(batch["item_BL"][0], batch["query_BL"][0], strict=True)
  return [(ids[item], ids[query]) for item, query in pairs]


def _scored(layout, artifacts, part, frozen=False):
  """{(user, event): (item, query)} of a part's impressions, by id."""
  layout, found = layout.bind(artifacts), {}
  ids = artifacts.catalog.ids
  for shown in iter_impressions(
    artifacts.histories, part, layout.feedback, 3, 2, frozen=frozen
  ):
    batch = layout.impression_batch(shown)
    for row, place in np.argwhere(shown.candidates > 0):
      key = (int(shown.user[row]), int(shown.event[row, place]))
      pair = batch["item_BL"][row, place], batch["query_BL"][row, place]
      found[key] = tuple(ids[i] for i in pair)
    assert not batch["query_BL"][shown.candidates == 0].any()
  return found


def test_a_query_is_that_of_the_request_itself(artifacts):
  assert _trained(_ASKED, artifacts, "u") == [
    ("a", "red pen"),
    ("b", "red pen"),
    ("c", ""),
    ("a", ""),
    ("b", "old map"),
  ]
  assert _trained(_ASKED, artifacts, "v") == [("c", ""), ("a", "")]


def test_where_there_is_none_it_is_what_was_taken_last(artifacts):
  assert [query for _, query in _trained(_TAKEN, artifacts, "u")] == [
    *("", "", "a", "a", "a")
  ]
  assert _trained(_TAKEN, artifacts, "v") == [("c", ""), ("a", "")]
  liked = dataclasses.replace(_LAYOUT, query=LastTaken("like"))
  assert {q for _, q in _scored(liked, artifacts, "test").values()} == {"b", ""}


@pytest.mark.parametrize("layout", [_ASKED, _TAKEN], ids=["asked", "taken"])
def test_training_and_scoring_ask_the_same(layout, artifacts):
  scored = _scored(layout, artifacts, "train")
  users = Users(artifacts.histories.directory)
  for user in "uv":
    mine = users.index_of(user)
    found = [pair for (u, _), pair in sorted(scored.items()) if u == mine]
    assert found == _trained(layout, artifacts, user)


def test_a_frozen_history_still_has_the_query_of_its_request(artifacts):
  for frozen in (False, True):
    asked = _scored(_ASKED, artifacts, "test", frozen=frozen)
    assert sorted(asked.values()) == [("a", "old map"), ("c", "")]
  # What was taken last is of the history, and ends with it.
  now = _scored(_TAKEN, artifacts, "test")
  assert sorted(now.values()) == [("a", "c"), ("c", "b")]
  before = _scored(_TAKEN, artifacts, "test", frozen=True)
  assert sorted(before.values()) == [("a", "c"), ("c", "b")]


def test_a_query_is_never_a_candidate_and_is_in_later_histories(artifacts):
  layout = _ASKED.bind(artifacts)
  (shown,) = iter_impressions(
    artifacts.histories, "test", layout.feedback, 4, 2
  )
  index = artifacts.catalog.index_of
  queries = {index("red pen"), index("old map")}
  assert not queries & {*shown.candidates.reshape(-1).tolist()}
  batch = layout.impression_batch(shown)
  histories = batch["history_item_BLH"][:, 0]
  row = shown.query.tolist().index(index("old map"))
  assert index("old map") in histories[row]
  # Its own query is told as such, and not as an event.
  assert (histories[row] == index("old map")).sum() == 1


def test_shapes_are_known_without_data_and_content_is_the_items(artifacts):
  with_content = dataclasses.replace(_ASKED, item_content="vectors")
  bound = with_content.bind(artifacts)
  data = bound.init_data()
  np.testing.assert_array_equal(data.content, artifacts.vectors_V1D)
  np.testing.assert_array_equal(data.count, artifacts.catalog.count)
  (requests,) = iter_requests(artifacts.histories, "test", 8)
  for layout, other in (
    (bound, with_content),
    (_TAKEN.bind(artifacts), _TAKEN),
  ):
    pairs = [
      (x.impression_batch(no_impressions(2, 3)), x.request_batch(requests))
      for x in (layout, other)
    ]
    for one, two in zip(*pairs, strict=True):
      assert one["query_BL"].dtype == np.int32
      assert {k: v.shape for k, v in one.items()} == {
        k: v.shape for k, v in two.items()
      }
  assert "query_BL" not in _LAYOUT.impression_batch(no_impressions(2, 3))


def test_a_model_that_is_asked_needs_queries_and_content():
  names = ("feature_rows", "history_columns", "num_actions", "num_tasks")
  system = ModelByHand(
    query_encoder=None, **{name: getattr(_LAYOUT, name) for name in names}
  )
  whole = dataclasses.replace(_ASKED, item_content="text_tokens")
  whole.check_system(system)
  for layout, name in ((_ASKED, "item_content"), (_LAYOUT, "query")):
    with pytest.raises(ValueError, match=f"set config.pipeline.layout.{name}"):
      layout.check_system(system)
  # What nobody reads is said, too.
  del system.query_encoder
  _LAYOUT.check_system(system)
  content = dataclasses.replace(_LAYOUT, item_content="vectors")
  for layout, name in ((_ASKED, "query"), (content, "item_content")):
    with pytest.raises(ValueError, match=f"layout.{name} is given, and .* not"):
      layout.check_system(system)


def test_what_cannot_be_asked_is_refused(artifacts):
  with pytest.raises(ValueError, match="take layouts.LastTaken for a log"):
    RequestQuery().bind(["", "click", "skip"])
  with pytest.raises(ValueError, match="Did you mean 'click'"):
    dataclasses.replace(_LAYOUT, query=LastTaken("clik")).bind(artifacts)
  with pytest.raises(ValueError, match="item_content='words' is unknown"):
    dataclasses.replace(_LAYOUT, item_content="words")
