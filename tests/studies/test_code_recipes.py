# SPDX-License-Identifier: Apache-2.0
"""Measurements of codes, each against a case that is known."""

import numpy as np
import pytest

from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.semantic_ids.quantizers.balanced_tree import BalancedTree
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from studies.code_recipes import (
  co_bought,
  error_by_size,
  next_item,
  recipe_row,
  shared_prefix,
  table,
)


def _clusters():
  rng = np.random.default_rng(0)
  centers = np.eye(6)[:4] * 5
  x = centers[:, None] + rng.normal(size=(4, 20, 6)) * 0.3
  return x.reshape(80, 6).astype(np.float32)


@pytest.mark.slow
def test_items_of_a_cluster_share_a_prefix_and_are_alike():
  x = _clusters()
  codes = ResidualKMeans((4, 4)).fit(x, seed=0).encode(x)
  found = shared_prefix(x, codes, neighbours=5, sample=80)
  low, middle, high = found["cosine_by_depth"]
  assert low < 0.3 and middle > 0.95 and high >= middle
  assert found["neighbours_share"][0] == 1.0
  # 19 of 79 other items lie in one's own cluster.
  assert found["random_pairs_share"][0] == pytest.approx(19 / 79)


@pytest.mark.slow
def test_a_recipe_is_unique_after_the_rules():
  x = np.concatenate([_clusters(), _clusters()[:3]])
  row = recipe_row(ResidualKMeans((4, 32)).fit(x, seed=0), x)
  assert row["used"] == [1.0, 1.0]
  assert row["uniqueness"] < 1
  assert row["unique_random_last"] == row["unique_sinkhorn_last"] == 1.0
  assert 0 < row["moved_random_last"] < 0.6
  assert row["distinct_by_depth"][0] == 4


@pytest.mark.slow
def test_a_prefix_that_overflows_is_counted_and_not_an_error():
  row = recipe_row(ResidualKMeans((4, 2)).fit(_clusters(), seed=0), _clusters())
  assert row["largest_prefix"] == 20
  assert row["unique_random_last"] == 8 / 80
  assert "unique_sinkhorn_last" not in row


@pytest.mark.slow
def test_error_falls_with_levels_and_codes():
  rows = error_by_size(_clusters(), levels=(1, 2, 4), sizes=(2, 8, 100))
  table = {(r["levels"], r["codes"]): r["unexplained"] for r in rows}
  # 100 codes are more than there are items.
  assert set(table) == {(m, c) for m in (1, 2, 4) for c in (2, 8)}
  for codes in (2, 8):
    assert table[1, codes] > table[2, codes] > table[4, codes] > 0
  for levels in (1, 2, 4):
    assert table[levels, 2] > table[levels, 8]


class Histories:
  """Three users, whose last event but one validates."""

  split = LeaveOneOut()

  def __len__(self):
    return 3

  def __getitem__(self, user):
    items = [[1, 2, 3, 4], [1, 3, 2], [1, 2]][user]
    return {"user": np.array(user), "item": np.array(items, np.int32)}


def test_next_items_are_validation_targets():
  codes = np.array([[0, 0], [1, 1], [2, 1], [2, 2], [3, 3]], np.int32)
  # User 0: 2 then 3 share one code; user 1: 1 then 3 share none; user 2 has
  # no target.
  found = next_item(Histories(), codes)
  assert found == {"users": 2, "share_by_depth": [0.5, 0.0]}


def test_co_bought_items_are_neighbours_in_the_training_part():
  codes = np.array([[0, 0], [1, 1], [1, 2], [2, 2], [3, 3]], np.int32)
  # Of user 0 events 1 and 2 train, of user 1 one, of user 2 both.
  found = co_bought(Histories(), codes)
  assert found["pairs"] == 2
  assert found["beside"] == {"similarity": 0.5, "prefix": [1.0, 0.0]}


def test_the_table_has_a_line_a_recipe():
  x = _clusters()
  row = recipe_row(BalancedTree(4).fit(x), x)
  assert row["uniqueness"] == 1 and row["mean_length"] == 4
  assert 0 < row["neighbours_kept"] <= 1 and row["perplexity"][0] > 3.99
  codes = np.array([[0, 0], [1, 1], [1, 2], [2, 2], [3, 3]], np.int32)
  row["co_bought"] = co_bought(Histories(), codes)
  *_, line = table({"tree": row}).splitlines()
  assert line.startswith("| tree | 100.00% | 100 / 100 /")
  assert line.endswith("| 0.500 (0.500) | 1.000 (1.000) |")
