# SPDX-License-Identifier: Apache-2.0
"""The recommender over a prepared data set, with a fake model behind it.

The fake scores item v as -|v - (last item + 1)|: it recommends the number after
the last one, so every answer can be read off.
"""

import dataclasses

import numpy as np
import pandas as pd
import polars as pl
import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.report.retrieval.workdir import example_of
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving.found import Shortage
from genrec_jax.serving.recommender import Recommender

# Nine items are few for most of what is asked here.
pytestmark = pytest.mark.filterwarnings(
  "ignore:[0-9]+ of (k=|[0-9]+ lists):UserWarning"
)
_START = 1_600_000_000
_V = 9


class _Log:
  """Users u0..u5; user u looks at items u+1 ... u+4, 100 s apart.

  With actions, the time of a user's first event is not known; with numbers,
  ids are 0.0 ... 5.0 and 1.0 ... 9.0.
  """

  def __init__(
    self, timed: bool = True, actions: bool = False, numbers: bool = False
  ):
    self.timed, self.actions, self.numbers = timed, actions, numbers

  def read(self) -> RawLog:
    rows = [
      (f"u{u}", f"film{u + step + 1}", _START + 1_000 * u + 100 * step)
      for u in range(6)
      for step in range(4)
    ]
    events = pl.DataFrame(rows, ["user", "item", "timestamp"], orient="row")
    items = pl.DataFrame(
      {
        "item": [f"film{i}" for i in range(1, _V + 1)],
        "title": [f"Film number {i}" for i in range(1, _V + 1)],
        "size": [i % 3 for i in range(1, _V + 1)],
        "tags": [["odd", "small"][: 1 + (i < 5)] for i in range(1, _V + 1)],
        "sizes": [[i % 3, -i % 3] for i in range(1, _V + 1)],
        "large": [2**53 + i for i in range(1, _V + 1)],
        "larges": [[2**53 + i, 0] for i in range(1, _V + 1)],
        "ready": [i > 5 for i in range(1, _V + 1)],
      }
    )
    if not self.timed:
      events = events.drop("timestamp")
    if self.actions:
      actions = ["untimed", "view", "view", "view"] * 6
      events = events.with_columns(action=pl.Series(actions))
    if self.numbers:
      number = pl.col("item").str.strip_prefix("film").cast(pl.Float64)
      user = pl.col("user").str.strip_prefix("u").cast(pl.Float64)
      events = events.with_columns(item=number, user=user)
      items = items.with_columns(item=number)
    return RawLog(events=events, items=items)


def _recommender(directory, **log):
  options = {"min_user_events": 1, "min_item_events": 1}
  prepare(_Log(**log), LeaveOneOut(), directory, **options)
  histories = Histories(directory)
  seen = []
  vectors = np.zeros((histories.manifest.num_items + 1, 2), np.float32)
  number = np.arange(len(vectors), dtype=np.float32)
  vectors[:, 0], vectors[:, 1] = number, number**2

  def search(requests, k, allowed):
    seen.append(requests)
    last = np.array([h["item"][-1] for h in requests.history], np.float32)
    # -(v - t)^2 = 2 t v - v^2 - t^2, t = last + 1
    query = np.stack([2 * (last + 1), -np.ones_like(last)], axis=1)
    ids, scores, aux = BruteForce.build(vectors).search(query, k, allowed)
    return np.asarray(ids), np.asarray(scores), aux

  model = Recommender(search, vectors, histories, batch_size=4)
  return model, seen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return _recommender(tmp_path_factory.mktemp("timed") / "data")


def _last_and_next(model, history):
  """The item indices of a history and what the fake puts first."""
  items = [model.catalog.index_of(i) for i in history]
  return items, model.catalog.ids[min(items[-1] + 1, model.catalog.num_items)]


def test_recommend_for_a_user_filters_the_whole_history(made):
  model, seen = made
  answer = model.recommend(user="u0", k=3)
  assert answer.columns == ["item_id", "title", "score", "source"]
  assert set(answer["source"]) == {"model"}
  assert len(answer) == 3
  history = model.history(user="u0")["item_id"].to_list()
  assert history == ["film1", "film2", "film3", "film4"]
  assert not set(answer["item_id"]) & set(history)
  assert answer["score"].to_list() == sorted(answer["score"], reverse=True)
  index = model.catalog.index_of(answer["item_id"][0])
  assert answer["title"][0] == model.catalog.titles[index]
  # Serving: all events are history, the test target included.
  assert len(seen[-1].history[0]["item"]) == 4
  gap = model.histories.manifest.median_gap_seconds
  assert seen[-1].query_time[0] == seen[-1].history[0]["time"][-1] + gap
  kept = model.recommend(user="u0", k=50, filter_history=False)
  assert len(kept) == model.catalog.num_items


def test_recommend_for_a_list_of_items(made):
  model, seen = made
  history = ["film2", "film7", "film4"]
  items, expected = _last_and_next(model, history)
  answer = model.recommend(history=history, k=1, filter_history=False)
  assert answer["item_id"].to_list() == [expected]
  assert seen[-1].history[0]["item"].tolist() == items
  gap = model.histories.manifest.median_gap_seconds
  assert np.diff(seen[-1].history[0]["time"]).tolist() == [gap, gap]
  listed = model.history(history=history)
  assert listed.columns == ["item_id", "title"]


def test_request_time_is_unix_seconds(made):
  model, seen = made
  epoch = model.histories.manifest.epoch_seconds
  model.recommend(user="u1", request_time=_START + 90_000)
  assert seen[-1].query_time.tolist() == [_START + 90_000 - epoch]
  model.recommend(history=["film1", "film2"], request_time=_START + 90_000)
  gap = model.histories.manifest.median_gap_seconds
  last = seen[-1].history[0]["time"][-1]
  assert seen[-1].query_time[0] - last == gap
  with pytest.raises(ValueError, match="before the last event"):
    model.recommend(user="u5", request_time=_START)
  with pytest.raises(ValueError, match="unix SECONDS"):
    model.recommend(user="u5", request_time=_START * 1_000)


def test_times_beyond_int32_are_an_error_and_do_not_wrap(made, monkeypatch):
  model, seen = made
  monkeypatch.setattr(
    model.histories,
    "manifest",
    dataclasses.replace(model.histories.manifest, median_gap_seconds=2**30),
  )
  record = model.record(history=["film1", "film2"])
  assert record["time"].tolist() == [0, 2**30]
  with pytest.raises(ValueError, match="3 items, laid one median gap"):
    model.record(history=["film1", "film2", "film3"])
  with pytest.raises(ValueError, match="the last event and a gap"):
    model.recommend(history=["film1", "film2"])
  epoch = model.histories.manifest.epoch_seconds
  with pytest.raises(ValueError, match="a history that ends at request_time"):
    model.recommend(history=["film1", "film2"], request_time=epoch - 2**31)


def test_without_times_a_request_time_is_refused(tmp_path):
  model, seen = _recommender(tmp_path / "data", timed=False)
  assert len(model.recommend(user="u0", k=2)) == 2
  assert seen[-1].query_time.tolist() == [0]
  assert model.history(user="u0").columns == ["item_id", "title"]
  with pytest.raises(ValueError, match="no event times"):
    model.recommend(user="u0", request_time=_START)


def test_an_event_without_a_time_has_none_in_a_history(made, tmp_path):
  timed = made[0].history(user="u0")["time"].dt.epoch("s").to_list()
  assert timed == [_START + 100 * step for step in range(4)]
  model, _ = _recommender(tmp_path / "data", actions=True)
  found = model.history(user="u0")["time"].dt.epoch("s").to_list()
  assert found == [None, *timed[1:]]
  shown = example_of(model, "u0").history
  assert [e.when for e in shown][:2] == ["", "2020-09-13 12:28"]


def test_unknown_ids_name_close_ones(made):
  model, _ = made
  with pytest.raises(ValueError, match="no item 'film77'.*'film7'"):
    model.recommend(history=["film1", "film77"], strict=True)
  with pytest.raises(ValueError, match="no user 'u99'"):
    model.recommend(user="u99", strict=True)
  with pytest.raises(ValueError, match="no item"):
    model.similar_items("nothing")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({}, "give user, history or both, or histories alone"),
    ({"user": "u0", "histories": [["film1"]]}, "or histories alone"),
    ({"history": [], "strict": True}, "has no events to recommend from"),
    ({"history": "film1"}, "must be a list of item ids"),
    ({"histories": []}, "there is nobody to recommend to"),
    ({"user": "u0", "allow": "film1"}, "allow='film1' must be a list"),
    ({"user": "u0", "allow": ["x"]}, "nothing is left .* none of its 1 ids"),
    ({"user": "u0", "where": {"titel": "x"}}, "no attribute of the items"),
    ({"user": "u0", "where": {"size": "big"}}, "size is a number"),
    ({"user": "u0", "where": {"size": 77}}, "nothing is left"),
    ({"user": "u0", "where": {"size": 1.5}}, "nothing is left"),
    ({"user": "u0", "where": {"size": "1e9999"}}, "nothing is left"),
    ({"user": "u0", "where": {"size": float("nan")}}, "nothing is left"),
    ({"user": "u0", "where": {"sizes": 1.5}}, "nothing is left"),
    ({"user": "u0", "k": 0}, "at least 1"),
  ],
)
def test_unclear_questions_are_refused(made, arguments, message):
  with pytest.raises(ValueError, match=message):
    made[0].recommend(**arguments)


def test_what_is_unknown_is_skipped_and_said(made):
  model, seen = made
  with pytest.warns(UserWarning, match="1 of 2 items .* skipped: 'film77'"):
    answer = model.recommend(history=["film1", "film77"], k=2)
  assert set(answer["source"]) == {"model"}
  assert len(seen[-1].history[0]["item"]) == 1


@pytest.mark.parametrize(
  "empty",
  [
    pl.DataFrame({"item_id": []}),
    pl.LazyFrame({"item_id": []}),
    pd.DataFrame({"item_id": []}),
  ],
)
def test_an_empty_table_is_an_empty_history(made, empty):
  expected = made[0].recommend(history=[], k=3)
  assert made[0].recommend(history=empty, k=3).equals(expected)


@pytest.mark.parametrize("nothing", [None, "", float("nan")])
def test_no_id_is_skipped_in_a_list_and_in_a_table(made, nothing):
  expected = made[0].recommend(history=["film1"], k=2)
  listed = ["film1", nothing]
  frame = pl.DataFrame({"item_id": ["film1", nothing or None]}, strict=False)
  for given in (listed, frame):
    with pytest.warns(UserWarning, match="1 of 2 items .* are skipped"):
      answer = made[0].recommend(history=given, k=2)
    assert answer.equals(expected)


def test_a_number_larger_than_any_asks_for_all(made):
  with pytest.warns(UserWarning, match="the catalogue has 9 items"):
    answer = made[0].recommend(history=["film1"], k=10**30)
  assert len(answer) == _V - 1


def test_ids_written_as_floats_are_whole_numbers(tmp_path):
  model, _ = _recommender(tmp_path / "data", numbers=True)
  plain = model.recommend(history=["1", "2"], k=3, allow=["4", "5", "6"])
  for one, two, allowed in (
    (1, 2, [4, 5, 6]),
    (1.0, 2.0, [4.0, 5.0, 6.0]),
    ("1.0", "2.", np.float32([4, 5, 6])),
    (np.float64(1), np.int64(2), pl.Series([4.0, 5.0, 6.0])),
  ):
    answer = model.recommend(history=[one, two], k=3, allow=allowed)
    assert answer.equals(plain), one
    table = pl.DataFrame({"item_id": [one, two]}, strict=False)
    assert model.recommend(history=table, k=3, allow=allowed).equals(plain)
    assert model.similar_items(one).equals(model.similar_items("1"))
  left = model.recommend(user=5.0, k=9, deny=[7.0])
  assert left.equals(model.recommend(user="5", k=9, deny=["7"]))
  assert "7" not in left["item_id"].to_list()


def test_who_is_unknown_gets_what_is_popular(made):
  model, _ = made
  with pytest.warns(UserWarning, match="no user 'u99'.*Nothing is known"):
    stranger = model.recommend(user="u99", k=3)
  for answer in (stranger, model.recommend(history=[], k=3)):
    assert set(answer["source"]) == {"popular"}
    best = np.argsort(-model.catalog.count, kind="stable")[:3]
    assert answer["score"].to_list() == model.catalog.count[best].tolist()


def test_many_histories_are_each_alone(made):
  model, _ = made
  lists = [["film1"], [], ["film3", "film2"], ["film8"], ["film4"], ["film5"]]
  table = model.recommend(histories=lists, k=3)
  assert table.columns[:3] == ["history", "rank", "item_id"]
  for number, history in enumerate(lists):
    mine = table.filter(pl.col("history") == number)
    alone = model.recommend(history=history, k=3)
    assert mine["item_id"].to_list() == alone["item_id"].to_list()
    np.testing.assert_allclose(mine["score"], alone["score"], rtol=1e-6)
    assert set(mine["source"]) == ({"model"} if history else {"popular"})


@pytest.mark.parametrize(
  ("wanted", "allowed"),
  [
    ({"allow": ["film9", "film8", "gone"]}, {8, 9}),
    ({"deny": [f"film{i}" for i in range(3, 100_000)]}, {1, 2}),
    ({"where": {"size": 1}}, {1, 4, 7}),
    ({"where": {"size": ["1", 2]}}, {1, 2, 4, 5, 7, 8}),
    ({"where": {"tags": "small"}}, {1, 2, 3, 4}),
    ({"where": {"ready": True, "size": 0}}, {6, 9}),
    ({"where": {"ready": "false"}, "deny": ["film1"]}, {2, 3, 4, 5}),
    ({"where": {"ready": 1}}, {6, 7, 8, 9}),
    ({"where": {"ready": ["TRUE", "7"]}}, {6, 7, 8, 9}),
    ({"where": {"ready": "0", "size": 1.0}}, {1, 4}),
    ({"where": {"ready": [0, 1], "size": "2.0"}}, {2, 5, 8}),
    ({"where": {"size": True}}, {1, 4, 7}),
    ({"where": {"sizes": [1, "9"]}}, {1, 2, 4, 5, 7, 8}),
    ({"where": {"large": 2**53 + 1}}, {1}),
    ({"where": {"large": [f"{2**53 + 3}", f"{2**53 + 4}.0"]}}, {3, 4}),
    ({"where": {"large": 2.0**53 + 2}}, {2}),
    ({"where": {"larges": 2**53 + 1}}, {1}),
  ],
)
@pytest.mark.parametrize("history", [["film5"], []])
def test_only_what_is_wanted_is_recommended(made, wanted, allowed, history):
  model, _ = made
  asked = {"k": 9, "filter_history": False, **wanted}
  answer = model.recommend(history=history, **asked)
  assert set(answer["item_id"]) == {f"film{i}" for i in allowed}
  everyone = pl.concat(model.recommend_all(**asked))
  assert set(everyone["item_id"]) == {f"film{i}" for i in allowed}
  seen = model.recommend(history=["film5"], k=9, **wanted)
  assert set(seen["item_id"]) == {f"film{i}" for i in allowed - {5}}


def test_lists_as_of_an_evaluation_withhold_its_targets(made):
  model, seen = made
  for part, events in (("test", 3), ("validation", 2)):
    tables = pl.concat(model.recommend_all(k=9, as_of=part))
    assert tables["user_id"].n_unique() == 6
    assert set(tables["event"]) == {events}
    assert len(seen[-1].history[0]["item"]) == events
    for user, rows in tables.group_by("user_id"):
      items = model.history(user=user[0])["item_id"].to_list()
      (withheld,) = set(rows["withheld_item_id"])
      assert withheld == items[events]
      assert not set(rows["item_id"]) & set(items[:events])


@pytest.mark.parametrize(
  ("asked", "why"),
  [
    (
      {"k": 50},
      "8 of k=50 items: the catalogue has 9 items, it",
    ),
    ({"k": 9}, "8 of k=9 items: items of the history are left"),
    (
      {"k": 4, "where": {"size": 2}},
      "2 of k=4 items: the filters leave 3, items of the hist",
    ),
    (
      {"k": 4, "allow": ["film1", "film2"]},
      "2 of k=4 .*filters leave 2[.]$",
    ),
  ],
)
def test_fewer_than_k_say_why(made, asked, why):
  model, _ = made
  with pytest.warns(UserWarning, match=why):
    model.recommend(history=["film5"], **asked)
  with pytest.warns(UserWarning, match="1 of 2 lists have fewer than k=9"):
    asked = {"k": 9, "filter_history": True}
    model.recommend(histories=[["film5"], []], **asked)
  with pytest.warns(UserWarning, match="6 of 6 lists have fewer than k=9"):
    list(model.recommend_all(k=9))


def test_a_search_that_finds_no_others_is_named(made):
  counts, left = np.array([2, 5]), np.array([9, 9])
  shown = Shortage.of(5, 9, counts, left)
  assert "the search found no others" in shown.why(9)
  assert Shortage.of(2, 9, counts, left).why(9) == ""


def test_shortages_of_parts_add_up_to_that_of_all():
  rng = np.random.default_rng(0)
  for k, num_wanted in ((3, 9), (9, 7), (1, 9)):
    left = rng.integers(0, num_wanted + 1, 12)
    counts = np.minimum(rng.integers(0, k + 1, 12), left)
    whole = Shortage(k, num_wanted)
    for rows in ([], range(5), [5], range(6, 12)):
      rows = np.array(rows, int)
      whole += Shortage.of(k, num_wanted, counts[rows], left[rows])
    assert whole == Shortage.of(k, num_wanted, counts, left)
    assert whole.lists == 12 and whole.fewest == counts.min()


def test_whoever_has_had_everything_gets_nothing(made):
  model, _ = made
  answer = model.recommend(history=[f"film{i}" for i in range(1, _V + 1)])
  assert len(answer) == 0 and answer.columns[0] == "item_id"


def test_all_users_equal_one_at_a_time(made):
  model, _ = made
  everyone = pl.concat(model.recommend_all(k=3))
  assert everyone.columns == [
    *("user_id", "rank", "item_id", "score", "title", "source"),
  ]
  assert everyone["user_id"].n_unique() == 6
  for user in model.users.ids:
    one = model.recommend(user=user, k=3)
    mine = everyone.filter(pl.col("user_id") == user)
    assert mine["item_id"].to_list() == one["item_id"].to_list()
    assert mine["rank"].to_list() == list(range(1, len(one) + 1))


def test_titles_may_be_left_out(made):
  model, _ = made
  for as_of in (None, "test"):
    full = pl.concat(model.recommend_all(k=3, as_of=as_of))
    short = pl.concat(model.recommend_all(k=3, as_of=as_of, titles=False))
    assert short.equals(full.drop("title"))


def test_similar_items_leave_out_the_item(made):
  model, _ = made
  found = model.similar_items("film4", k=3)
  assert len(found) == 3
  assert "film4" not in found["item_id"].to_list()
  assert found["score"].max() <= 1 + 1e-6


@pytest.mark.parametrize("last", [False, True])
def test_as_of_an_evaluation_asks_when_that_asks(made, monkeypatch, last):
  model, seen = made
  manifest = dataclasses.replace(model.histories.manifest, median_gap_seconds=7)
  monkeypatch.setattr(model.histories, "manifest", manifest)
  monkeypatch.setattr(model, "asked_at_last_event", last)
  first = len(seen)
  list(model.recommend_all(2, as_of="test"))
  for requests in seen[first:]:
    behind = [record["time"][-1] for record in requests.history]
    later = requests.query_time - behind
    assert set(later) == {7 if last else 100}
