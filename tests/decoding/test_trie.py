# SPDX-License-Identifier: Apache-2.0
"""Tries against sets of prefixes: states, children, ranges, and odd cases."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.trie import Trie
from tests.decoding import cases

_seeds = st.integers(0, 100_000)


def _states(codes, live, depth):
  """Prefix of each state of a depth, by the rule: sorted and distinct."""
  if not depth:
    return [()]
  return sorted({tuple(c[:depth].tolist()) for c in codes[live]})


@jax.jit
def _tables(trie):
  """What the methods answer for every state of every depth."""
  answers = []
  for depth, size in enumerate(trie.level_sizes):
    states_S1 = jnp.arange(trie.num_states(depth))[:, None]

    def all_of(count, states_S1=states_S1):
      states_SN = jnp.repeat(states_S1, count, axis=1)
      return states_SN, jnp.broadcast_to(
        jnp.arange(count)[None], states_SN.shape
      )

    answers.append(
      (
        trie.edges(depth, states_S1[:, 0]),
        trie.child(depth, *all_of(trie.width(depth))),
        *trie.follow(depth, *all_of(size)),
      )
    )
  return answers


@settings(max_examples=8)
@given(seed=_seeds)
@pytest.mark.parametrize(
  "own_sizes", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_states_children_and_items_are_those_of_the_prefixes(seed, own_sizes):
  case = cases.make(seed, 0 if own_sizes else seed)
  codes, live, trie = case.codes, case.live, case.trie
  if own_sizes:
    trie = Trie.build(codes, trie.level_sizes, live)
  items = sorted(np.flatnonzero(live), key=lambda i: (*codes[i], i))
  assert np.asarray(trie.items_N)[: len(items)].tolist() == items
  tables = jax.tree.map(np.asarray, _tables(trie))
  for depth in range(trie.num_levels):
    states = _states(codes, live, depth)
    deeper = _states(codes, live, depth + 1)
    size = trie.level_sizes[depth]
    edges_SE, children_SJ, follow_SC, found_SC = tables[depth]
    assert edges_SE.shape[1] == trie.width(depth) + 1
    assert not found_SC[len(states) :].any()
    assert (edges_SE[len(states) :, 1:] <= edges_SE[len(states) :, :-1]).all()
    for s, prefix in enumerate(states):
      low, high = trie.first_item[depth][s : s + 2].tolist()
      below = [i for i in items if tuple(codes[i][:depth]) == prefix]
      assert items[low:high] == below
      there_J = edges_SE[s, 1:] > edges_SE[s, :-1]
      expected = [d for d, p in enumerate(deeper) if p[:depth] == prefix]
      assert edges_SE[s, :-1][there_J].tolist() == expected
      assert children_SJ[s, there_J].tolist() == expected
      for code in range(size):
        assert bool(found_SC[s, code]) == ((*prefix, code) in deeper)
        if found_SC[s, code]:
          assert deeper[int(follow_SC[s, code])] == (*prefix, code)
  ids = jnp.array(items, jnp.int32)
  np.testing.assert_array_equal(trie.codes(trie.leaves(ids)), codes[items])
  dead = np.setdiff1d(np.arange(len(codes)), items)
  assert (np.asarray(trie.place_V1)[dead] == -1).all()


def test_a_table_is_used_where_it_is_small_and_not_empty():
  rng = np.random.default_rng(0)
  codes = rng.integers(0, 64, (12_102, 4), np.int32)
  trie = Trie.build(codes, (64,) * 4)
  # The root and its 64 children have nearly all codes below them; their 4,096
  # children a few each.
  assert len(trie.dense) == 2
  assert trie.sizes.states[0] == 64
  assert trie.sizes.branch[2] < 16
  total = sum(x.nbytes for x in jax.tree.leaves(trie))
  assert total < 1e6


@pytest.mark.parametrize("num_items", [0, 1])
def test_tiny_catalogues(num_items):
  trie = Trie.build(np.zeros((num_items + 1, 3), np.int32), (1, 1, 1))
  assert trie.place_V1.tolist() == [-1, 0][: num_items + 1]
  assert trie.sizes.states == (1, 1, 1)
  assert [f.tolist() for f in trie.first_item] == [[0, num_items]] * 4


def test_retired_items_leave_the_trie_whatever_their_codes():
  codes = np.array([[0, 0], [1, 1], [-1, 99], [1, 1]], np.int32)
  live = np.array([True, True, False, True])
  trie = Trie.build(codes, (2, 2), live)
  assert trie.items_N.tolist() == [1, 3]
  assert trie.max_group == 2
  with pytest.raises(ValueError, match="item 2 has code -1 at level 0"):
    Trie.build(codes, (2, 2))


@pytest.mark.parametrize(
  ("codes", "sizes", "live", "message"),
  [
    (np.zeros((3, 2), np.int32), (4,), None, "2 levels and level_sizes"),
    (np.zeros((3, 2), np.int32), (4, 0), None, "positive number of codes"),
    (np.zeros((0, 2), np.int32), (4, 4), None, "no row 0"),
    (np.zeros((3, 2), np.int32), (4, 4), np.ones(4, bool), "live has shape"),
    (np.full((3, 1), 4, np.int32), (4,), None, "codes are 0 to 3"),
  ],
)
def test_bad_input(codes, sizes, live, message):
  with pytest.raises(ValueError, match=message):
    Trie.build(codes, sizes, live)


def test_a_rebuilt_trie_runs_the_compiled_program():
  order = np.random.default_rng(3).permutation(8**3)[:60]
  codes = np.stack([order // 64, order // 8 % 8, order % 8], 1)
  old = Trie.build(codes[:50], (8, 8, 8))
  room = old.sizes.with_room(0.3)
  first = Trie.build(codes[:50], (8, 8, 8), sizes=room)
  grown = Trie.build(codes, (8, 8, 8), sizes=room)
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), first)
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), grown)
  described = Trie.abstract(room)
  assert shapes == jax.tree.map(lambda x: (x.shape, x.dtype), described)
  assert first.sizes == grown.sizes == described.sizes == room
  with pytest.raises(ValueError, match="items 59 where there is room for 49"):
    Trie.build(codes, (8, 8, 8), sizes=old.sizes)
  with pytest.raises(ValueError, match="room is 0 or more"):
    room.with_room(-0.1)
