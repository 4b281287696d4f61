# SPDX-License-Identifier: Apache-2.0
"""Uniqueness rules: nobody shares codes, nobody loses them, room is checked."""

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.semantic_ids.uniqueness import (
  DedupLevel,
  RandomLastLevel,
  SinkhornLastLevel,
  Uniqueness,
)

_SIZES = (3, 4, 16)
_RULES = {
  "dedup": DedupLevel(64),
  "random": RandomLastLevel(seed=3),
  "all random": RandomLastLevel(seed=3, keep_nearest=False),
  "sinkhorn": SinkhornLastLevel(rounds=20),
}
each = pytest.mark.parametrize("name", _RULES)


def _codes(num, seed, sizes=_SIZES):
  rng = np.random.default_rng(seed)
  return np.stack([rng.integers(0, c, num) for c in sizes], 1).astype(np.int32)


def _costs(codes, seed=0):
  """Costs whose cheapest code is the one given; rows of one code differ."""
  rng = np.random.default_rng(seed)
  table = rng.random((len(codes), _SIZES[-1])).astype(np.float32)
  table[np.arange(len(codes)), codes[:, -1]] = -1.0
  return lambda rows: table[rows]


def _unique(codes):
  return len(np.unique(codes, axis=0)) == len(codes)


@each
@given(seed=st.integers(0, 50), num=st.integers(0, 60))
def test_codes_are_unique_and_prefixes_stay(name, seed, num):
  codes = _codes(num, seed)
  done = _RULES[name].apply(codes, _SIZES, _costs(codes))
  sizes = _RULES[name].sizes(_SIZES)
  assert done.shape == (num, len(sizes)) and done.dtype == np.int32
  assert _unique(done)
  assert (done >= 0).all() and (done < np.array(sizes)[None]).all()
  kept = 3 if name == "dedup" else 2
  np.testing.assert_array_equal(done[:, :kept], codes[:, :kept])


@each
@given(seed=st.integers(0, 50), num=st.integers(1, 60), cut=st.integers(0, 60))
def test_new_items_get_free_codes_and_change_nothing(name, seed, num, cut):
  codes, rule = _codes(num, seed), _RULES[name]
  cut = min(cut, num)
  costs = _costs(codes)
  old = rule.apply(codes[:cut], _SIZES, costs)
  before = old.copy()
  new = rule.assign(old, codes[cut:], _SIZES, lambda rows: costs(rows + cut))
  np.testing.assert_array_equal(old, before)
  assert _unique(np.concatenate([old, new]))


@each
def test_the_same_input_gives_the_same_codes(name):
  codes = _codes(50, 1)
  first = _RULES[name].apply(codes, _SIZES, _costs(codes))
  again = _RULES[name].apply(codes, _SIZES, _costs(codes))
  np.testing.assert_array_equal(first, again)


@each
def test_items_alone_keep_their_nearest_code(name):
  codes = np.array([[0, 0, 5], [0, 0, 6], [1, 0, 5]], np.int32)
  done = _RULES[name].apply(codes, _SIZES, _costs(codes))
  if name == "all random":
    assert (done != codes).any()
  else:
    np.testing.assert_array_equal(done[:, :3], codes)


def test_dedup_numbers_a_group_in_the_order_of_items():
  codes = np.array([[1, 2], [0, 0], [1, 2], [1, 2]], np.int32)
  done = DedupLevel(4).apply(codes, (3, 3))
  assert done[:, -1].tolist() == [0, 0, 1, 2]
  # A place that became free is taken first.
  new = DedupLevel(4).assign(done[[0, 1, 3]], codes[:1], (3, 3))
  assert new.tolist() == [[1, 2, 1]]


def test_random_codes_of_a_prefix_do_not_depend_on_other_prefixes():
  rule, codes = RandomLastLevel(seed=3), _codes(50, 2)
  alone = codes[(codes[:, :2] == codes[:1, :2]).all(axis=1)]
  both = rule.apply(codes, _SIZES)
  mine = both[(codes[:, :2] == codes[:1, :2]).all(axis=1)]
  np.testing.assert_array_equal(rule.apply(alone, _SIZES), mine)


def test_the_seed_of_random_codes_matters():
  codes = np.zeros((6, 3), np.int32)
  first, other = (RandomLastLevel(seed=s).apply(codes, _SIZES) for s in (0, 1))
  assert (first != other).any()


def test_sinkhorn_parts_what_differs_and_then_equal_vectors_too():
  # Two items would both like code 0; the second one nearly as much code 1.
  codes = np.zeros((4, 3), np.int32)
  table = np.full((4, 16), 5.0, np.float32)
  table[0, 0], table[1, 0], table[1, 1] = 0.0, 0.0, 0.1
  table[2:, 0], table[2:, 7], table[2:, 8] = 0.0, 0.1, 0.2
  done = SinkhornLastLevel().apply(codes, _SIZES, lambda rows: table[rows])
  assert done[:2, -1].tolist() == [0, 1]
  assert sorted(done[2:, -1].tolist()) == [7, 8]


@each
def test_a_group_larger_than_the_level_is_an_error(name):
  codes = np.zeros((65, 3), np.int32)
  size = 64 if name == "dedup" else 16
  prefix = r"\(0, 0, 0\)" if name == "dedup" else r"\(0, 0\)"
  with pytest.raises(ValueError, match=f"65 items .*{prefix}.* {size} codes"):
    _RULES[name].apply(codes, _SIZES, _costs(codes))
  full = _RULES[name].apply(codes[:size], _SIZES, _costs(codes))
  with pytest.raises(ValueError, match=f"{size + 1} items"):
    _RULES[name].assign(full, codes[:1], _SIZES, _costs(codes))


@each
def test_a_code_that_is_there_twice_takes_one_place(name):
  rule, size = _RULES[name], 64 if name == "dedup" else 16
  codes = np.zeros((size, 3), np.int32)
  old = rule.apply(codes, _SIZES, _costs(codes))[1:]
  twice = np.concatenate([old, old])
  new = rule.assign(twice, codes[:1], _SIZES, _costs(codes))
  assert _unique(np.concatenate([old, new]))


def test_overflow_can_be_shared_instead():
  codes = np.zeros((20, 3), np.int32)
  done = RandomLastLevel(share_overflow=True).apply(codes, _SIZES)
  assert len(np.unique(done, axis=0)) == 16
  assert (done[16:] == 0).all()


def test_sinkhorn_needs_costs():
  with pytest.raises(ValueError, match="last_level_costs"):
    SinkhornLastLevel().apply(_codes(3, 0), _SIZES)


def test_rules_are_rules():
  assert all(isinstance(rule, Uniqueness) for rule in _RULES.values())
