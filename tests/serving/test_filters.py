# SPDX-License-Identifier: Apache-2.0
"""Pairs of lists `allow` and `deny` over a tiny catalogue, by enumeration.

Behind each stand histories that the model answers and an empty one, which gets
what is popular. What may be recommended is written down anew, item by item.
"""

import importlib.util
import itertools
import warnings

import numpy as np
import polars as pl
import pytest

from genrec_jax.data import LeaveOneOut, RawLog
from genrec_jax.data.dataset import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.scann import Scann
from genrec_jax.serving import Recommender

_ITEMS = ("a", "b", "c", "d")
_KIND = {"a": "x", "b": "y", "c": "x", "d": None}
_NEW = {"a": True, "b": False, "c": None, "d": True}
# What is asked beside the two lists, and which items that leaves.
_ASKED = (
  ({"filter_history": True}, lambda item: True),
  ({"filter_history": False}, lambda item: True),
  (
    {"filter_history": True, "where": {"kind": ["x", "y"]}},
    lambda item: _KIND[item] in ("x", "y"),
  ),
  (
    {"filter_history": False, "where": {"new": 1, "kind": "x"}},
    lambda item: _NEW[item] is True and _KIND[item] == "x",
  ),
)
_HISTORIES = ([], ["b"], ["c", "a"], list(_ITEMS))
_VECTORS = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
_SCANN = pytest.mark.skipif(
  importlib.util.find_spec("scann") is None,
  reason="ScaNN is published for Linux x86-64 only",
)


class _Log:
  """Item a is seen by four users, b by three, and so on."""

  def read(self):
    rows = [
      (f"u{user}", item, 1_700_000_000 + 10 * user + place)
      for place, item in enumerate(_ITEMS)
      for user in range(4 - place)
    ]
    events = pl.DataFrame(rows, ["user", "item", "timestamp"], orient="row")
    items = pl.DataFrame(
      {"item": _ITEMS, "kind": _KIND.values(), "new": _NEW.values()}
    )
    return RawLog(events=events, items=items)


def _subsets(items):
  sizes = range(len(items) + 1)
  return [set(s) for n in sizes for s in itertools.combinations(items, n)]


@pytest.mark.parametrize(
  "build",
  [
    BruteForce.build,
    pytest.param(Scann.build, marks=_SCANN),
    # Most lists come out short and are completed.
    pytest.param(lambda v: Scann.build(v, max_fetch=1), marks=_SCANN),
  ],
  ids=["brute_force", "scann", "scann_short"],
)
def test_lists_are_those_of_an_enumeration(build, tmp_path):
  prepare(_Log(), LeaveOneOut(), tmp_path / "data")
  index = build(_VECTORS)

  def search(requests, k, allowed):
    last = [record["item"][-1] for record in requests.history]
    return index.search(_VECTORS[last], k, allowed)

  histories = Histories(tmp_path / "data")
  model = Recommender(search, None, histories, batch_size=4)
  number = {item: model.catalog.index_of(item) for item in _ITEMS}

  def expected(history, allow, deny, asked, may):
    left = [
      item
      for item in _ITEMS
      if (not allow or item in allow)
      and item not in deny
      and may(item)
      and not (asked["filter_history"] and item in history)
    ]
    query = _VECTORS[number[history[-1]]] if history else None
    scores = {
      item: _VECTORS[number[item]] @ query
      if history
      else model.catalog.count[number[item]]
      for item in left
    }
    return sorted(left, key=lambda item: (-scores[item], number[item]))

  warnings.simplefilter("ignore", UserWarning)
  some = 0
  for allow, deny in itertools.product(_subsets("abc"), _subsets("bcd")):
    for asked, may in _ASKED:
      given = {"allow": allow or None, "deny": deny, **asked}
      if not any(
        may(item) and item not in deny and (not allow or item in allow)
        for item in _ITEMS
      ):
        with pytest.raises(ValueError, match="nothing is left"):
          model.recommend(histories=_HISTORIES, k=3, **given)
        continue
      answer = model.recommend(histories=_HISTORIES, k=3, **given)
      for row, history in enumerate(_HISTORIES):
        found = answer.filter(pl.col("history") == row)
        wanted = expected(history, allow, deny, asked, may)[:3]
        assert found["item_id"].to_list() == wanted, (given, history)
        source = "model" if history else "popular"
        assert set(found["source"]) <= {source}
        some += len(wanted)
  assert some > 500
