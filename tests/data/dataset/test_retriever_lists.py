# SPDX-License-Identifier: Apache-2.0
"""Lists of several retrievers: turns, places and look-ups against loops."""

import numpy as np
import pytest

from genrec_jax.data.dataset.retriever_lists import (
  Arrays,
  RetrieverLists,
  by_turns,
  places_of,
)

_E, _R, _N = 40, 3, 5


def _lists(seed):
  """Lists of few items, with empty places anywhere and repeats."""
  return np.random.default_rng(seed).integers(0, 9, (_E, _R, _N))


def _turns(lists):
  full = [[i for i in one if i] for one in lists.tolist()]
  found = []
  for place in range(_N):
    for one in full:
      if place < len(one) and one[place] not in found:
        found.append(one[place])
  return found


@pytest.mark.parametrize("count", [1, 4, 20])
def test_lists_take_turns_and_no_item_stands_twice(count):
  lists = _lists(0)
  lists[0] = 0
  found = by_turns(lists, count)
  assert found.shape == (_E, count)
  for row, wanted in zip(found.tolist(), map(_turns, lists), strict=True):
    wanted = wanted[:count]
    assert row == wanted + [0] * (count - len(wanted))


def test_the_place_of_an_item_is_its_first_and_none_of_no_item():
  lists, items = _lists(1), np.random.default_rng(2).integers(0, 9, _E)
  for found, one, item in zip(
    places_of(lists, items).tolist(), lists.tolist(), items, strict=True
  ):
    assert found == [
      row.index(item) + 1 if item and item in row else 0 for row in one
    ]
  assert (items == 0).any()


@pytest.fixture
def made(tmp_path):
  # Of user 1 nobody has to find anything; user 2 misses event 3.
  arrays = Arrays(
    np.arange(5 * 2 * 3).reshape(5, 2, 3) + 1,
    np.zeros((5, 2), np.int64),
    np.array([1, 2, 1, 2, 4]),
    np.array([0, 2, 2, 5]),
  )
  facts = {"fingerprint": "f", "made": 10 * 86_400, "hindsight": {"b": "Late."}}
  return RetrieverLists.make(arrays, ("a", "b"), facts, tmp_path / "lists")


def test_lists_are_those_of_their_requests(made, tmp_path):
  lists = made.arrays.lists
  for found in (made, RetrieverLists.load(tmp_path / "lists")):
    np.testing.assert_array_equal(found.of(0, np.array([2])), lists[[1]])
    np.testing.assert_array_equal(found.of(2, np.array([4, 1])), lists[[4, 2]])
    np.testing.assert_array_equal(
      found.at(np.array([2, 0]), np.array([2, 1])), lists[[3, 0]]
    )
    assert found.of(1, np.zeros(0, int)).shape == (0, 2, 3)
  assert made.columns((), "x").tolist() == [0, 1]
  assert made.columns(("b",), "x").tolist() == [1]
  assert made.age(13 * 86_400) == 3.0


def test_requests_that_are_lacking_are_counted_and_the_first_is_named(made):
  with pytest.raises(ValueError, match=r"lack 2 of 3 .*before event 3\.\n"):
    made.of(2, np.array([2, 3, 5]))
  with pytest.raises(ValueError, match="lack 1 of 1 requests of user 1"):
    made.of(1, np.array([1]))


def test_what_cannot_be_used_is_refused(made, tmp_path):
  made.check("f", "lists")
  with pytest.raises(ValueError, match=r"fingerprints f and g\)\.\nThe same"):
    made.check("g", "lists")
  made.check_point_in_time(("a",))
  with pytest.raises(ValueError, match="^Late.\nWhat it returned says nothing"):
    made.check_point_in_time(("a", "b"))
  with pytest.raises(
    ValueError, match="x names 'c', and the lists are by a, b"
  ):
    made.columns(("c",), "x")
  with pytest.raises(ValueError, match="holds no lists of retrievers.\nName"):
    RetrieverLists.load(tmp_path / "none")
