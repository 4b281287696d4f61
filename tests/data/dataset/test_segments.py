# SPDX-License-Identifier: Apache-2.0
"""Segments of requests: bounds, what is new, categories, bad kinds."""

import types

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.segments import KINDS, Segments, check_kinds

_DAY = 86_400


class _Catalog(Catalog):
  """Attributes that a test writes down."""

  def __init__(self):
    self.num_items = 5
    self.attributes = pl.DataFrame(
      {
        "index": [1, 2, 3, 4, 5],
        "kinds": [["b", "a"], ["b"], [], None, ["c"]],
      }
    )


class _Histories(list):
  split = types.SimpleNamespace(train_end=lambda r: len(r["item"]) - 1)


def _histories(**changes):
  records = [([1, 2, 3], [0, 5, 7]), ([2, 1, 4], [3, 9, 11])]
  return _Histories(
    {
      "user": np.array(u),
      "item": np.array(items, np.int32),
      "time": np.array(times, np.int32) * _DAY,
      **changes,
    }
    for u, (items, times) in enumerate(records)
  )


def test_segments_are_those_of_the_moment():
  found = Segments.build(_histories(), _Catalog(), KINDS, "kinds")
  # Item, day, events before -> how new the item is, and how busy the user.
  cases = [
    (1, 0, 0, "new", "no event"),
    (1, 1, 1, "under 7 days", "1-5 events"),
    (1, 7, 5, "7 to 30 days", "1-5 events"),
    (1, 30, 6, "30 to 90 days", "6-20 events"),
    (2, 3, 20, "new", "6-20 events"),
    (2, 4, 21, "under 7 days", "21-50 events"),
    (1, 364, 200, "90 to 365 days", "51-200 events"),
    (1, 365, 201, "over 365 days", ">200 events"),
    # What is held out is no training event: these have none.
    (3, 100, 51, "new", "51-200 events"),
    (4, 100, 50, "new", "21-50 events"),
  ]
  items, days, lengths, fresh, active = zip(*cases, strict=True)
  numbers = found.of(np.array(items), np.array(days) * _DAY, np.array(lengths))
  assert tuple(found.names) == KINDS == tuple(numbers)
  for kind, wanted in (("freshness", fresh), ("activity", active)):
    assert [found.names[kind][i] for i in numbers[kind]] == list(wanted)


def test_categories_are_the_first_by_name_and_the_rest_is_named():
  found = Segments.build(_histories(), _Catalog(), ("category",), "kinds")
  items = np.array([1, 2, 3, 4, 5])
  numbers = found.of(items, items * 0, items * 0)["category"]
  names = [found.names["category"][i] for i in numbers]
  assert names == ["a", "b", "none", "none", "c"]
  many = _Catalog()
  many.num_items = 32
  many.attributes = pl.DataFrame({"kinds": [f"k{i:02}" for i in range(32)]})
  found = Segments.build(_histories(), many, ("category",), "kinds")
  assert len(found.names["category"]) == 32
  last = found.of(np.array([30, 31, 32]), np.zeros(3, int), np.zeros(3, int))
  names = [found.names["category"][i] for i in last["category"]]
  assert names == ["k29", "other", "other"]


@pytest.mark.parametrize(
  ("kinds", "attribute", "said"),
  [
    (("categry",), "kinds", "Did you mean 'category'"),
    (("category",), "", "set attribute"),
    (("category",), "kind", "Did you mean 'kinds'"),
  ],
)
def test_unknown_kinds_and_attributes_are_refused(kinds, attribute, said):
  with pytest.raises(ValueError, match=said):
    check_kinds(kinds, attribute, _Catalog())


def test_freshness_needs_times():
  records = _histories()
  for record in records:
    del record["time"]
  Segments.build(records, _Catalog(), ("activity",))
  with pytest.raises(ValueError, match="leave it out of kinds"):
    Segments.build(records, _Catalog(), ("freshness",))
