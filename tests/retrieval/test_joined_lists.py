# SPDX-License-Identifier: Apache-2.0
"""Joined lists against loops over ids: every list of three items, and more."""

from fractions import Fraction
import itertools

import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval import joined_lists


def every_triple(num_items=3):
  """Three lists (B, num_items): all that can be made of so many items."""
  items = range(1, num_items + 1)
  lists = [
    [*order, *[0] * (num_items - n)]
    for n in range(num_items + 1)
    for order in itertools.permutations(items, n)
  ]
  triples = itertools.product(lists, repeat=3)
  return [np.array(x, np.int32) for x in zip(*triples, strict=True)]


def random_lists(seed, num_items=30, lengths=(9, 4, 14), rows=40):
  """Lists of other lengths, some of them not full."""
  rng = np.random.default_rng(seed)
  found = []
  for length in lengths:
    ids = np.zeros((rows, length), np.int32)
    for row in ids:
      count = int(rng.integers(0, length + 1))
      row[:count] = 1 + rng.permutation(num_items)[:count]
    found.append(ids)
  return found


def fused(lists, weights, k0):
  """Items by reciprocal rank, and their scores, in fractions."""
  score, first = {}, {}
  for number, ids in enumerate(lists):
    for place, item in enumerate([i for i in ids if i], 1):
      gain = Fraction(weights[number]) / (Fraction(k0) + place)
      score[item] = score.get(item, 0) + gain
      first.setdefault(item, number)
  score = {i: np.float32(float(s)) for i, s in score.items()}
  return sorted(score, key=lambda i: (-score[i], first[i], i)), score


def shared_out(lists, quotas):
  """Items by quotas, and behind them the others by their best place."""
  found = []
  for ids, quota in zip(lists, quotas, strict=True):
    new = [i for i in ids if i and i not in found]
    found += new[:quota]
  others = {}
  for number, ids in enumerate(lists):
    for place, item in enumerate(ids):
      if item and item not in found:
        others[item] = min(others.get(item, (99, 0)), (place, number))
  return found + sorted(others, key=others.__getitem__)


def _padded(items, k):
  return (items + [0] * k)[:k]


@pytest.mark.parametrize("lists", [every_triple(), random_lists(0)])
@pytest.mark.parametrize(
  ("weights", "k0"),
  [
    ((1.0, 1.0, 1.0), 60.0),
    ((1.0, 1.0, 1.0), 0.0),
    ((0.5, 1.0, 2.0), 1.0),
    ((3.0, 1.0, 1.0), 0.5),
  ],
)
def test_reciprocal_ranks_are_those_of_fractions(lists, weights, k0):
  for k in (2, 50):
    ids, scores = joined_lists.by_reciprocal_rank(lists, weights, k0, k)
    assert ids.shape == scores.shape == (len(lists[0]), k)
    assert ids.dtype == np.int32 and scores.dtype == np.float32
    rows = zip(*(x.tolist() for x in lists), strict=True)
    for row, mine in enumerate(rows):
      order, score = fused(mine, weights, k0)
      assert ids[row].tolist() == _padded(order, k), mine
      expected = [score.get(i, -np.inf) for i in _padded(order, k)]
      np.testing.assert_allclose(scores[row], expected, rtol=2e-7)


def test_a_reciprocal_rank_by_hand():
  lists = [np.array([[5, 7, 2]]), np.array([[7, 9, 0]]), np.array([[4, 0, 0]])]
  ids, scores = joined_lists.by_reciprocal_rank(lists, (1.0, 1.0, 1.0), 60.0, 6)
  # 7 has 1/62 + 1/61; 5 and 4 tie, and the earlier list has 5; so do 9 and 2.
  assert ids.tolist() == [[7, 5, 4, 9, 2, 0]]
  assert scores[0, 0] == pytest.approx(1 / 62 + 1 / 61)
  assert scores[0, 3:].tolist() == pytest.approx([1 / 62, 1 / 63, -np.inf])
  # Within one list the lower id is first where the other list turns it round.
  lists = [np.array([[8, 3]]), np.array([[3, 8]])]
  ids, scores = joined_lists.by_reciprocal_rank(lists, (1.0, 1.0), 60.0, 2)
  assert ids.tolist() == [[3, 8]] and scores[0, 0] == scores[0, 1]


@pytest.mark.parametrize("lists", [every_triple(), random_lists(1)])
@pytest.mark.parametrize("quotas", [(1, 1, 1), (2, 0, 1), (0, 3, 5), (4, 4, 9)])
def test_quotas_are_those_of_loops(lists, quotas):
  for k in (2, 50):
    ids, scores = joined_lists.by_quotas(lists, quotas, k)
    rows = zip(*(x.tolist() for x in lists), strict=True)
    for row, mine in enumerate(rows):
      assert ids[row].tolist() == _padded(shared_out(mine, quotas), k), mine
    assert ((scores > -np.inf) == (ids > 0)).all()
    with np.errstate(invalid="ignore"):
      falls = np.diff(scores, axis=1) < 0
    assert falls[ids[:, 1:] > 0].all()


def test_quotas_by_hand():
  lists = [np.array([[1, 2, 3]]), np.array([[2, 0, 0]]), np.array([[1, 6, 7]])]
  ids, _ = joined_lists.by_quotas(lists, (2, 2, 1), 7)
  # The second list has nothing new; its places go to the first and the third.
  assert ids.tolist() == [[1, 2, 6, 3, 7, 0, 0]]


def test_lists_are_cleaned_as_in_loops():
  rng = np.random.default_rng(2)
  ids = rng.integers(0, 12, (60, 9))
  allowed = rng.random((60, 12)) < 0.6
  for mask in (None, ItemMask.of(allowed)):
    found = joined_lists.cleaned(ids, mask)
    for row, mine in enumerate(ids.tolist()):
      kept = dict.fromkeys(i for i in mine if i)
      kept = [i for i in kept if mask is None or allowed[row, i]]
      assert found[row].tolist() == _padded(kept, 9)
