# SPDX-License-Identifier: Apache-2.0
"""Titles are unique and say what an item is."""

import numpy as np

from genrec_jax.data.simulator.titles import category_name, item_titles


def test_titles_are_unique_when_the_vocabulary_runs_out():
  rng = np.random.default_rng(0)
  kinds = rng.integers([45, 12, 13], size=(20_000, 3))
  titles = item_titles(*kinds.T)
  assert len(set(titles)) == len(titles)
  crowded = item_titles(*np.tile([[3], [1], [2]], 500))
  assert len(set(crowded)) == 500


def test_words_tell_category_tier_and_material():
  first, second = item_titles(*np.array([[4, 4], [0, 0], [1, 1]]))
  assert first.split()[1] == second.split()[1] == "Copper"
  (cheap,) = item_titles(*np.array([[0], [0], [0]]))
  (dear,) = item_titles(*np.array([[0], [4], [0]]))
  assert cheap.split()[0] != dear.split()[0]
  assert cheap.split()[1:] == dear.split()[1:]
  # 16 combinations of adjective and noun come before the first number.
  titles = item_titles(*np.zeros((3, 17), int))
  assert not any("No." in title for title in titles[:16])
  assert titles[16] == f"{titles[0]} No. 2"


def test_categories_keep_distinct_names():
  names = [category_name(category) for category in range(60)]
  assert len(set(names)) == 60
