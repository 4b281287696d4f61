# SPDX-License-Identifier: Apache-2.0
"""Questions to a recommender that cannot be answered: what is said.

The model is a table of vectors: what is refused is refused before it is asked.
"""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import genrec_jax
from genrec_jax.data import LeaveOneOut, RawLog
from genrec_jax.data.dataset import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.serving.recommender import Recommender
from tests.bad_inputs.answers import refused

_START, _DAY = 1_700_000_000, 86_400

# Arguments of recommend; what is said.
_RECOMMEND = [
  ({}, "give user, history or both, or histories"),
  ({"user": "u1", "histories": [["i1"]]}, "or histories alone"),
  ({"user": "u1", "k": 0}, "k=0 must be at least 1"),
  ({"user": "u1", "k": -3}, "k=-3 must be at least 1"),
  ({"user": "u1", "k": 2.5}, "k=2.5 must be a whole number"),
  ({"user": "u1", "k": "ten"}, "k='ten' must be a whole number"),
  ({"user": "u1", "k": None}, "k=None must be a whole number"),
  ({"user": "u1", "k": True}, "k=True must be a whole number"),
  ({"user": "u1", "k": [10]}, r"k=\[10\] must be a whole number"),
  ({"user": "nobody", "strict": True}, "no user 'nobody' among 6 users"),
  ({"user": "u" * 9999, "strict": True}, "no user 'uuu.*among 6 users"),
  ({"user": ["u1"]}, r"user=\['u1'\] must be one id. .*recommend_all"),
  ({"user": ("u1", "u2"), "history": ["i1"]}, r"\(histories=\[...\]\)"),
  ({"user": np.array(["u1"])}, "user=.* must be one id"),
  ({"user": pl.Series(["u1"]), "strict": True}, "user=.* must be one id"),
  ({"user": {"id": "u1"}}, "user=.* must be one id"),
  ({"user": "u11", "strict": True}, "Close: 'u1'"),
  ({"history": "i1"}, "history='i1' must be a list of item ids"),
  ({"history": b"i1"}, "must be a list of item ids"),
  ({"history": 7}, "history=7 must be a list of item ids"),
  ({"history": [], "strict": True}, "the history has no events"),
  ({"history": ["i99"], "strict": True}, "no item 'i99' among 9 items"),
  ({"history": [None], "strict": True}, "no item 'None' among 9 items"),
  ({"history": {"i1": 2}}, "must be a list of item ids"),
  ({"history": {"i1", "i2"}}, "must be a list of item ids"),
  ({"history": pl.DataFrame({"x": ["i1"]})}, "a history has no column 'x'"),
  ({"history": pl.DataFrame({"value": [1.0]})}, "needs a column item_id"),
  (
    {"history": pl.DataFrame({"item_id": ["i1"], "action": ["buy"]})},
    "action",
  ),
  (
    {"history": pl.DataFrame({"item_id": [["i1"]]})},
    "'item_id' has the type List",
  ),
  ({"history": pl.DataFrame({"item_id": [1.5]})}, "numbers that are not whole"),
  (
    {"history": pl.DataFrame({"item_id": [None]}), "strict": True},
    "no item 'None' among 9 items",
  ),
  ({"histories": []}, "histories is empty"),
  ({"histories": "i1"}, "histories='i1' must be a list of histories"),
  ({"histories": 7}, "histories=7 must be a list of histories"),
  ({"histories": {"a": ["i1"]}}, "must be a list of histories"),
  ({"histories": ["i1"]}, "history='i1' must be a list of item ids"),
  ({"histories": [None]}, "give a user, a history, or both"),
  ({"histories": [["i1"], 7]}, "history=7 must be a list"),
  ({"user": "u1", "allow": "i1"}, "allow='i1' must be a list of item ids"),
  ({"user": "u1", "allow": 7}, "allow=7 must be a list of item ids"),
  ({"user": "u1", "allow": []}, "nothing is left .* allow: none of its 0"),
  ({"user": "u1", "allow": ["x", "y"]}, "none of its 2 ids is in the cat"),
  (
    {"user": "u1", "allow": [f"x{n}" for n in range(9999)]},
    "none of its 9,999",
  ),
  ({"user": "u1", "deny": "i1"}, "deny='i1' must be a list of item ids"),
  ({"user": "u1", "deny": None}, "deny=None must be a list of item ids"),
  ({"user": "u1", "deny": np.array(3)}, "deny=.* must be a list of item ids"),
  (
    {"user": "u1", "allow": pl.DataFrame({"item_id": ["i1"]})},
    "allow=.* must be a list of item ids",
  ),
  (
    {"user": "u1", "deny": [f"i{n}" for n in range(100_000)]},
    "deny of 100,000 ids: no other item",
  ),
  ({"user": "u1", "where": "size=1"}, "where='size=1' must map attributes"),
  ({"user": "u1", "where": ["size"]}, "must map attributes to values"),
  (
    {"user": "u1", "where": {"colour": "red"}},
    "no attribute .*Choices: .*size",
  ),
  ({"user": "u1", "where": {"index": 3}}, "Choices: name, new, size\\."),
  ({"user": "u1", "where": {"siz": 1}}, "Did you mean 'size'"),
  ({"user": "u1", "where": {3: 1}}, "where has 3, which is no attribute"),
  ({"user": "u1", "where": {"size": 77}}, "where size=77: no item that has it"),
  ({"user": "u1", "where": {"size": "big"}}, "size is a number in the item"),
  ({"user": "u1", "where": {"new": "big"}}, "new is true or false in the"),
  ({"user": "u1", "where": {"size": None}}, "size is a number in the item"),
  ({"user": "u1", "where": {"size": []}}, "no item that has it"),
  ({"user": "u1", "where": {"size": [[1]]}}, "size is a number in the item"),
  ({"user": "u1", "where": {"name": "x" * 9999}}, "no item that has it"),
  (
    {"user": "u1", "allow": ["i1"], "deny": ["i1"]},
    "deny of 1 ids: no other item",
  ),
  ({"user": "u1", "filter_history": "no"}, "='no' must be True, False or None"),
  ({"user": "u1", "filter_history": 1}, "=1 must be True, False or None"),
  ({"user": "u1", "strict": "yes"}, "strict='yes' must be True or False"),
  ({"user": "u1", "strict": None}, "strict=None must be True or False"),
  ({"user": "u1", "request_time": "now"}, "='now' must be a whole number"),
  ({"user": "u1", "request_time": 1.5}, "=1.5 must be a whole number"),
  ({"user": "u1", "request_time": 5}, "s before the last event"),
  ({"user": "u1", "request_time": 10**13}, "unix SECONDS"),
  ({"history": ["i1"], "request_time": 10**40}, "unix SECONDS"),
]

_SIMILAR = [
  (("i99",), "no item 'i99' among 9 items.*Ids look like 'i"),
  ((None,), "no item 'None' among"),
  ((["i1"],), "no item .*i1.* among"),
  (("i1", 0), "k=0 must be at least 1"),
  (("i1", "3"), "k='3' must be a whole number"),
  (("i1", 1e9), "must be a whole number"),
  (("i" * 9999,), "no item 'iii.* among"),
]

_ALL = [
  ({"k": 0}, "k=0 must be at least 1"),
  ({"k": -1}, "k=-1 must be at least 1"),
  ({"k": "all"}, "k='all' must be a whole number"),
  ({"as_of": "tomorrow"}, "as_of='tomorrow' must be 'validation', 'test'"),
  ({"as_of": 3}, "as_of=3 must be 'validation', 'test'"),
  ({"allow": ["x"]}, "none of its 1 ids"),
  ({"where": {"colour": 1}}, "no attribute of the items"),
  ({"filter_history": "yes"}, "must be True, False or None"),
]


class _Log:
  def read(self):
    rows = [
      (f"u{u}", f"i{u + n}", _START + _DAY * (u + n))
      for u in range(6)
      for n in range(4)
    ]
    events = pl.DataFrame(rows, ["user", "item", "timestamp"], orient="row")
    number = pl.int_range(9, eager=True)
    items = pl.DataFrame({"item": [f"i{n}" for n in range(9)], "size": number})
    return RawLog(
      events=events, items=items.with_columns(name="item", new=number > 3)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shop") / "data"
  prepare(_Log(), LeaveOneOut(), folder)
  vectors = np.eye(10, 4, dtype=np.float32)
  index = BruteForce.build(vectors)

  def search(requests, k, allowed):
    return index.search(np.ones((len(requests), 4), np.float32), k, allowed)

  return Recommender(search, vectors, Histories(folder), batch_size=4)


@pytest.mark.parametrize(("given", "words"), _RECOMMEND)
def test_recommend(model, given, words):
  refused(words, model.recommend, **given)


@pytest.mark.parametrize(("given", "words"), _SIMILAR)
def test_similar_items(model, given, words):
  refused(words, model.similar_items, *given)


@pytest.mark.parametrize(("given", "words"), _ALL)
def test_recommend_all(model, given, words):
  # At the call, before anything is asked of what it returns.
  refused(words, model.recommend_all, **given)


def test_more_neighbours_than_there_are(model):
  with pytest.warns(UserWarning, match="8 of k=9 items: the catalogue has 9"):
    assert len(model.similar_items("i1", 9)) == 8
  assert len(model.similar_items("i1", 8)) == 8


@pytest.mark.parametrize(
  "made", [pl.Series, pd.Series, np.array, set, iter, tuple]
)
def test_ids_are_given_in_whatever_can_be_iterated_over(model, made):
  lists = {"allow": ["i1", "i2", "i3", "gone"], "deny": ["i2", "i4"]}
  given = {name: made(ids) for name, ids in lists.items()}
  table = model.recommend(user="u5", k=2, filter_history=False, **given)
  assert set(table["item_id"]) == {"i1", "i3"}


def test_the_rest(model, tmp_path):
  refused("give a user, a history", model.history)
  refused("no user 'x'", model.history, "x", strict=True)
  refused("strict=1 must be", model.history, "u1", strict=1)
  refused("no item 'x'", model.history, history=["x"], strict=True)
  refused("evaluate needs the run", model.evaluate)
  refused("save needs the run", model.save, tmp_path / "copy")
  for place in (tmp_path, tmp_path / "nowhere", ""):
    refused(".", genrec_jax.load, place)
  for load in (genrec_jax.load, genrec_jax.load_ranker):
    refused("workdir=None must be a path", load, None)
  for number, words in (("ten", "a whole number"), (0, "at least 1")):
    words = f"num_candidates=.*{number}.* must be {words}"
    refused(words, genrec_jax.load, tmp_path, num_candidates=number)
  assert not list(tmp_path.iterdir())
