# SPDX-License-Identifier: Apache-2.0
"""Lists: by value, under a rule, and one item after the other."""

from collections import Counter
import types

import numpy as np
import pytest

from genrec_jax.ranking import slates as policies
from genrec_jax.ranking.slates import Diverse, Greedy, Sequential, policy_of

_RNG = np.random.default_rng(0)


def test_greedy_sorts_and_keeps_the_order_of_ties():
  values = np.array([0.5, 2.0, 0.5, -1.0, 2.0])
  assert policies.greedy(values, 5).tolist() == [1, 4, 0, 2, 3]
  assert policies.greedy(values, 2).tolist() == [1, 4]


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("within", [3, 6, 40])
def test_each_place_has_the_best_that_the_limit_allows(limit, within):
  values = _RNG.normal(size=30)
  groups = [None if g == 4 else g for g in _RNG.integers(5, size=30).tolist()]
  order = policies.diverse(values, groups, limit, within, 30)
  assert sorted(order) == list(range(30))
  at_most = limit
  for place in range(within if within < 30 else 30):
    before = Counter(groups[i] for i in order[:place])
    left = [i for i in range(30) if i not in order[:place]]

    def allowed(at_most, left=left, before=before):
      return [
        i for i in left if groups[i] is None or before[groups[i]] < at_most
      ]

    if not allowed(at_most):
      at_most += 1
    assert order[place] == max(allowed(at_most), key=lambda i: values[i])
  rest = values[order[within:]]
  assert (np.diff(rest) <= 0).all()
  # Five of a group of four names and as many without: the limit holds.
  first = Counter(groups[i] for i in order[: min(within, 4 * limit)])
  assert max((n for g, n in first.items() if g is not None), default=0) <= limit


def test_a_limit_that_nothing_is_left_under_is_raised():
  values = np.array([5.0, 4.0, 3.0, 2.0])
  order = policies.diverse(values, ["a", "a", "a", "b"], 1, 4, 4)
  assert order.tolist() == [0, 3, 1, 2]


def test_without_history_a_sequential_list_is_sorted():
  values = _RNG.normal(size=12).round(1)
  for k in (1, 5, 12, 20):
    found = policies.sequential(lambda _: values, 12, k)
    assert found.tolist() == policies.greedy(values, k).tolist()


def test_a_policy_by_name_and_its_options():
  assert policy_of("greedy") == Greedy()
  assert policy_of("diverse:attribute=author_id, limit=2") == Diverse(
    "author_id", 2, 10
  )
  assert policy_of("sequential:assume=click|like,seconds=30") == Sequential(
    "click|like", 30
  )
  for text, message in (
    ("gready", "policy='gready' is unknown. Did you mean 'greedy'"),
    ("diverse", "'diverse' needs attribute: write diverse:attribute=...[.]$"),
    ("diverse:limit=2", "write diverse:attribute=...,limit=2[.]$"),
    ("diverse:attribute=a,limt=1", "unknown key 'limt'.*Did you mean 'limit'"),
    ("diverse:attribute=a,limit=0", "limit=0 must be at least 1"),
    ("diverse:attribute=a,within=x", "within=x must be a number"),
    ("sequential:seconds=-1", "seconds=-1 must be at least 0"),
    # What a policy is called is no option of it.
    ("greedy:name=ranking.Sequential", "each option once"),
    ("diverse:attribute=a,limit=1,limit=2", "'limit=2' must be OPTION=VALUE"),
    ("diverse:attribute", "'attribute' must be OPTION=VALUE"),
  ):
    with pytest.raises(ValueError, match=message):
      policy_of(text)


def test_a_model_without_history_makes_one_list_by_all_policies(make_ranker):
  ranker = make_ranker(tires=0.0)
  ids, user = ranker.catalog.ids[1:13], ranker.users.ids[2]
  lists = [
    ranker.rank(ids, user, policy=p, weights="cart=1")
    for p in ("greedy", "sequential", "diverse:attribute=category,limit=12")
  ]
  assert lists[0]["item_id"].to_list() == ids
  for other in lists[1:]:
    assert other.equals(lists[0])


@pytest.mark.parametrize("assume", ["likely", "purchase"])
def test_a_sequential_list_is_scored_behind_what_it_placed(make_ranker, assume):
  ranker = make_ranker()
  user, time = ranker.users.ids[2], 10**9
  ids = ranker.catalog.ids[1:11]
  table = ranker.rank(
    ids, user, policy=Sequential(assume, 7), k=4, weights="cart=1,purchase=.3",
    request_time=time + ranker.histories.manifest.epoch_seconds,
  )  # fmt: skip
  record, left = ranker.record(user), list(range(1, 11))
  histories = ranker.scorer.score_fn.seen
  assert len(histories) == len(table) == 4
  for place, row in enumerate(table.iter_rows(named=True)):
    # What was asked behind: the record, and what stands before this place.
    asked = histories[place]
    for name, array in record.items():
      if name != "user":
        assert len(asked[name]) == len(array) + place
        np.testing.assert_array_equal(asked[name][: len(array)], array)
    end = len(record["item"])
    earlier = table["item_id"][:place].to_list()
    assert [ranker.catalog.ids[i] for i in asked["item"][end:]] == earlier
    assert asked["time"][end:].tolist() == [time + 7 * i for i in range(place)]
    if place:
      assert asked["request"][end:].tolist() == [
        record["request"].max() + 1 + i for i in range(place)
      ]
      # No task is likely at first: a view. A purchase begets one here.
      expected = [3] * place if assume == "purchase" else [1, 1, 1][:place]
      if assume == "likely":
        expected = [2 if p >= 0.5 else 1 for p in table["cart"][:place]]
      assert asked["action"][end:].tolist() == expected
    # Brute force over what is left.
    same = ranker.scorer.score_fn.categories[asked["item"]]
    cart = {
      i: (0.9 - i / 100)
      * np.exp(-0.5 * (same == ranker.scorer.score_fn.categories[i]).sum())
      for i in left
    }
    best = max(left, key=cart.get)
    assert row["item_id"] == ranker.catalog.ids[best]
    assert row["cart"] == pytest.approx(cart[best])
    bought = asked["action"][-1] == 3
    assert row["purchase"] == pytest.approx(0.6 if bought else 0.1)
    assert row["value"] == pytest.approx(cart[best] + 0.3 * row["purchase"])
    left.remove(best)


def test_a_diverse_list_by_the_catalogue(make_ranker):
  ranker = make_ranker(tires=0.0)
  ids = ranker.catalog.ids[1:]
  table = ranker.rank(ids, policy="diverse:attribute=category,within=3", k=3)
  category = dict(zip(ids, ranker.catalog.attributes["category"], strict=True))
  assert len({category[i] for i in table["item_id"]}) == 3
  with pytest.raises(ValueError, match="no attribute 'author'.*category"):
    ranker.rank(ids, policy="diverse:attribute=author")
  with pytest.raises(ValueError, match="2 times: a list shows an item once"):
    ranker.rank([*ids, ids[0]])
  for k, said in (
    (0, "k=0 must be at least 1"),
    (2.5, "k=2.5 must be a whole number"),
    ("ten", "k='ten' must be a whole number"),
  ):
    with pytest.raises(ValueError, match=said):
      ranker.rank(ids, k=k)


def test_nobody_is_asked_after_the_data_sets_last_event(make_ranker):
  ranker = make_ranker()
  manifest, asked = ranker.histories.manifest, []
  ranker.scorer = types.SimpleNamespace(
    layout=ranker.scorer.layout,
    score=lambda request: asked.append(request) or np.zeros((1, 2), np.float32),
  )
  ids = ranker.catalog.ids[1:2]
  ends = [
    int(ranker.histories[user]["time"][-1])
    for user in range(len(ranker.histories))
  ]
  ranker.rank(ids)
  assert asked[0].query_time[0] == max(ends) + manifest.median_gap_seconds
  ranker.rank(ids, request_time=manifest.epoch_seconds + 7)
  assert asked[1].query_time[0] == 7
  with pytest.raises(ValueError, match="before the data set's first event"):
    ranker.rank(ids, request_time=manifest.epoch_seconds - 1)


def test_a_list_that_outlasts_what_times_can_hold_is_an_error(make_ranker):
  ranker = make_ranker()
  ids, user = ranker.catalog.ids[1:4], ranker.users.ids[0]
  with pytest.raises(ValueError, match="999999999999 s each.*68 years"):
    ranker.rank(ids, user, policy="sequential:seconds=999999999999")
