# SPDX-License-Identifier: Apache-2.0
"""A balanced tree: a leaf for each item, equal parts, and free leaves."""

import math

import numpy as np
import pytest

from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers import base
from genrec_jax.semantic_ids.quantizers.balanced_tree import BalancedTree
from genrec_jax.semantic_ids.uniqueness import RandomLastLevel


def _vectors(count, seed=0, width=4):
  rng = np.random.default_rng(seed)
  # Clusters of very different sizes.
  middle = 6 * rng.normal(size=(5, width))
  which = rng.choice(5, count, p=[0.6, 0.2, 0.1, 0.05, 0.05])
  return (middle[which] + rng.normal(size=(count, width))).astype(np.float32)


@pytest.mark.parametrize(
  ("count", "branch"),
  [(1, 3), (3, 3), (4, 3), (9, 3), (10, 3), (28, 3), (100, 4), (65, 8)],
)
def test_every_item_has_a_leaf_and_nodes_of_a_depth_are_of_one_size(
  count, branch
):
  x = _vectors(count)
  fitted = BalancedTree(branch).fit(x, seed=1)
  codes = fitted.fit_codes
  levels = max(1, math.ceil(round(math.log(count, branch), 9)))
  assert codes.shape == (count, levels)
  assert fitted.level_sizes == (branch,) * levels
  assert len(np.unique(codes, axis=0)) == count
  for depth in range(1, levels):
    _, sizes = np.unique(codes[:, :depth], axis=0, return_counts=True)
    assert len(sizes) == branch**depth and np.ptp(sizes) <= 1
  # Leaves of a node are numbered from 0 without a gap.
  for node in np.unique(codes[:, :-1], axis=0):
    under = (codes[:, :-1] == node).all(axis=1)
    assert sorted(codes[under, -1]) == list(range(under.sum()))
  np.testing.assert_array_equal(fitted.decode(codes), x)


def test_parts_are_near_in_space():
  x = _vectors(256)
  codes = BalancedTree(4).fit(x).fit_codes
  left = 0.0
  for node in np.unique(codes[:, :2], axis=0):
    some = x[(codes[:, :2] == node).all(axis=1)]
    left += np.square(some - some.mean(axis=0)).sum()
  # 16 nodes by chance would leave nearly all of it.
  assert left < 0.25 * np.square(x - x.mean(axis=0)).sum()


def test_a_new_vector_goes_to_the_nearest_center_and_leaf(tmp_path):
  x = _vectors(100)
  fitted = BalancedTree(4).fit(x)
  new = _vectors(30, seed=7)
  for row, codes in zip(new, fitted.encode(new), strict=True):
    under = np.arange(100)
    for level in range(3):
      sets = [under[fitted.fit_codes[under, level] == c] for c in range(4)]
      far = [np.square(x[s].mean(axis=0) - row).sum() for s in sets]
      assert codes[level] == np.argmin(far)
      under = sets[codes[level]]
    far = np.square(x[under] - row).sum(axis=1)
    assert codes[3] == fitted.fit_codes[under[far.argmin()], 3]
  fitted.save(tmp_path)
  again = base.load(tmp_path)
  assert again.fingerprint == fitted.fingerprint
  np.testing.assert_array_equal(again.encode(new), fitted.encode(new))
  assert fitted.last_level_costs(new).argmin(axis=1).tolist() == (
    fitted.encode(new)[:, -1].tolist()
  )


def test_items_keep_the_leaves_of_the_fit_and_new_ones_get_free_ones(
  make_vectors, tmp_path
):
  # Equal titles are equal vectors, which no rule on vectors tells apart.
  titles = {f"i{n}": "abc" if n < 3 else "abcdefghij"[: n % 9 + 1] * (n // 3)
            for n in range(20)}  # fmt: skip
  tree, rule = BalancedTree(3), RandomLastLevel()
  held = {"i18", "i19"}
  vectors = make_vectors(titles)
  tokens = ItemTokens.make(tmp_path / "t", vectors, tree, rule, hold_out=held)
  fitted = tokens.tokenizer()
  np.testing.assert_array_equal(tokens.codes[1:], fitted.fit_codes)
  _, sizes = np.unique(tokens.codes[1:, :1], axis=0, return_counts=True)
  assert sizes.tolist() == [6, 6, 6]
  after = tokens.assign(["i18", "i19"], vectors)
  np.testing.assert_array_equal(after.codes[:19], tokens.codes)
  assert len(np.unique(after.codes[1:], axis=0)) == 20


def test_options_and_vectors_are_checked():
  for change in ({"branch": 1}, {"iterations": 0}):
    ((name, value),) = change.items()
    with pytest.raises(ValueError, match=f"{name}={value} must be at least"):
      BalancedTree(**change)
  with pytest.raises(ValueError, match="no vectors"):
    BalancedTree(2).fit(np.zeros((0, 3), np.float32))
