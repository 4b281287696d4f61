# SPDX-License-Identifier: Apache-2.0
"""An ensemble is one search: masks, full lists, and what cannot be joined."""

import numpy as np
import pytest

from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.core import seams
from genrec_jax.core.build import build
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.ensemble import (
  Ensemble,
  ListRule,
  Quotas,
  ReciprocalRank,
)
from tests.retrieval.test_joined_lists import fused, shared_out

_V, _B = 14, 25
_POPULAR = MostPopular(np.arange(_V + 1)).search


def _requests(count=_B):
  zeros = np.zeros(count, np.int32)
  record = {"user": np.array(0, np.int32), "item": np.zeros(0, np.int32)}
  users = np.arange(count, dtype=np.int32)
  return Requests(users, zeros, [record] * count, zeros, zeros)


def _order(user, salt):
  return 1 + np.random.default_rng([user, salt]).permutation(_V)


def _member(salt, longest=_V, obeys=True):
  """A search in an order of its own; it may be short, or ignore the mask."""

  def search(requests, k, allowed=None):
    ids = np.zeros((len(requests), k), np.int32)
    for row, user in enumerate(requests.user.tolist()):
      mine = _order(user, salt)
      if allowed is not None and obeys:
        mine = mine[allowed.dense()[row][mine]]
      mine = mine[: min(k, longest)]
      if not obeys:
        # An item twice, and a hole between items.
        mine = np.concatenate([mine[:2], mine[:1], [0], mine[2:]])[:k]
      ids[row, : len(mine)] = mine
    return ids, None, {}

  return search


_MEMBERS = {
  "full": _member(1),
  "short": _member(2, longest=3),
  "careless": _member(3, longest=8, obeys=False),
}
_RULES = [
  (Quotas({"full": 2, "short": 5, "careless": 3}), (2, 5, 3)),
  (ReciprocalRank(k0=2, weights={"careless": 2.0}), None),
]


def _lists(members, user, count, allowed):
  """What the members give that is allowed, each item once."""
  found = []
  for search in members.values():
    one = requests_at(_requests(), np.array([user]))
    mask = None if allowed is None else ItemMask.of(allowed[None])
    ids = search(one, count, mask)[0][0].tolist()
    ids = dict.fromkeys(i for i in ids if i)
    found.append([i for i in ids if allowed is None or allowed[i]])
  return found


@pytest.mark.parametrize(("rule", "quotas"), _RULES, ids=["quotas", "rrf"])
@pytest.mark.parametrize("members", [("full", "short", "careless"), ("short",)])
@pytest.mark.parametrize("masked", [True, False])
def test_it_joins_what_is_allowed_and_fills_the_list(
  rule, quotas, members, masked
):
  members = {name: _MEMBERS[name] for name in members}
  rng = np.random.default_rng(0)
  share = rng.choice([0.0, 0.1, 0.5, 1.0], (_B, 1))
  allowed = rng.random((_B, _V + 1)) < share
  if len(members) == 1:
    rule = Quotas({"short": 10}) if quotas else ReciprocalRank(k0=2)
    quotas = quotas and (10,)
  search = Ensemble(members, rule, 6, _V, _POPULAR)
  whole, _, _ = search(_requests(), _V, ItemMask.of(allowed))
  for k in (1, 5, 9, _V + 3):
    mask = ItemMask.of(allowed) if masked else None
    ids, scores, said = search(_requests(), k, mask)
    assert ids.shape == scores.shape == (_B, k)
    count = min(max(k, 6), _V)
    for row in range(_B):
      mine = allowed[row] if masked else None
      lists = _lists(members, row, count, mine)
      for name, ids_N in zip(members, lists, strict=True):
        assert said["lists"][name][row].tolist() == (
          ids_N + [0] * (count - len(ids_N))
        )
      if quotas:
        expected = shared_out(lists, quotas)
      else:
        weights = [2.0 if name == "careless" else 1.0 for name in members]
        expected = fused(lists, weights, 2)[0]
      left = [i for i in range(_V, 0, -1) if mine is None or mine[i]]
      expected += [i for i in left if i not in expected]
      expected = expected[:k]
      found = ids[row][: len(expected)].tolist()
      assert found == expected and not ids[row][len(expected) :].any()
      assert len(expected) == min(k, len(left))
      assert (scores[row][: len(expected)] > -np.inf).all()
      assert (np.diff(scores[row][: len(expected)]) <= 0).all()
      assert (scores[row][len(expected) :] == -np.inf).all()
    if masked and k <= 6:
      # A list of fewer places is the beginning of that of num_results.
      six, _, _ = search(_requests(), 6, mask)
      np.testing.assert_array_equal(ids, six[:, :k])
  assert set(whole[allowed[:, 1:].sum(axis=1) == 0].flat) <= {0}


@pytest.mark.parametrize(
  ("rule", "said"),
  [
    (Quotas({"a": 3, "b": 2}), "quotas are of 5 items together, and num_resul"),
    (Quotas({"a": 9}), "quotas has none of the member 'b'"),
    (Quotas({"a": 9, "b": -1}), r"quotas\['b'\]=-1 must be a whole number"),
    (Quotas({"a": 9, "b": 1.5}), r"quotas\['b'\]=1.5 must be a whole number"),
    (Quotas({"a": 9, "b": True}), r"quotas\['b'\]=True must be a whole number"),
    (Quotas({"a": 9, "b": 1, "aa": 1}), "names 'aa', which .* mean 'a'"),
    (Quotas(7), "quotas=7 must map members to numbers"),
    (ReciprocalRank(weights={"c": 1}), "weights names 'c', which is no member"),
    (ReciprocalRank(weights={"a": 0}), r"weights\['a'\]=0 must be a number ab"),
    (ReciprocalRank(weights={"a": -1.0}), r"weights\['a'\]=-1.0 must be"),
    (ReciprocalRank(weights={"a": np.nan}), r"weights\['a'\]=nan must be"),
    (ReciprocalRank(weights={"a": np.inf}), r"weights\['a'\]=inf must be"),
    (ReciprocalRank(weights={"a": "2"}), r"weights\['a'\]='2' must be"),
  ],
)
def test_a_rule_that_does_not_fit_the_members(rule, said):
  members = {"a": _POPULAR, "b": _POPULAR}
  with pytest.raises(ValueError, match=said):
    Ensemble(members, rule, 6, _V, _POPULAR)


@pytest.mark.parametrize("k0", [-1, np.nan, np.inf, "60", True, None])
def test_a_constant_that_is_none(k0):
  with pytest.raises(ValueError, match="must be a number of 0 or more"):
    ReciprocalRank(k0=k0)


@pytest.mark.parametrize("count", [0, -3, 2.5, True, "6"])
def test_no_members_and_no_number_of_results(count):
  with pytest.raises(ValueError, match="needs at least one member"):
    Ensemble({}, ReciprocalRank(), 6, _V, _POPULAR)
  with pytest.raises(ValueError, match="num_results=.* must be a whole number"):
    Ensemble({"a": _POPULAR}, ReciprocalRank(), count, _V, _POPULAR)


def test_a_member_that_answers_something_else_is_named():
  mask = ItemMask.all_but([np.zeros(0, int)] * 3, _V)

  def of(answer):
    return Ensemble(
      {"odd": lambda *_: (answer, None, {})}, ReciprocalRank(), 4, _V, _POPULAR
    )

  for answer, said in (
    (np.zeros((2, 4), int), r"'odd' returned ids \(2, 4\); .* = \(3, 4\)"),
    (np.zeros((3, 3), int), r"'odd' returned ids \(3, 3\)"),
    (np.full((3, 4), _V + 1), f"'odd' returned {_V + 1}, which is no item"),
    (np.full((3, 4), -1), "'odd' returned -1, which is no item"),
  ):
    with pytest.raises(ValueError, match=said):
      of(answer)(_requests(3), 4, mask)
  with pytest.raises(ValueError, match="allowed is of 3 requests and 14 items"):
    of(np.zeros((2, 4), int))(_requests(2), 4, mask)


def test_rules_are_nodes_of_a_config():
  node = {"name": "retrieval.ReciprocalRank", "weights": {"a": 2}}
  assert build(node) == ReciprocalRank(weights={"a": 2})
  node = {"name": "retrieval.Quotas", "quotas": {"a": 2}}
  assert build(node) == Quotas({"a": 2})
  assert seams.offers(build(node), ListRule)
