# SPDX-License-Identifier: Apache-2.0
"""top-k against Python's sort, with ties, NaN, infinities and signed zeros."""

import math

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.top_k import blockwise_top_k, top_k

_search = jax.jit(
  blockwise_top_k, static_argnums=2, static_argnames=("num_valid", "block")
)


def _sorted_reference(scores_BN, k, keep_BN):
  """Ids and scores by sorting (score descending, lower id first)."""
  ids, values = [], []
  for scores, keep in zip(scores_BN, keep_BN, strict=True):
    order = sorted(
      (-s, i)
      for i, (s, ok) in enumerate(zip(scores, keep, strict=True))
      if ok and not math.isnan(s) and s != -math.inf
    )[:k]
    order += [(math.inf, 0)] * (k - len(order))
    ids.append([i for _, i in order])
    values.append([-s for s, _ in order])
  return np.array(ids), np.array(values, np.float32)


def test_top_k_order_of_ties_zeros_and_nan():
  row = [-0.0, 0.0, math.nan, 1.0, -math.inf, 1.0, math.inf]
  columns, scores = top_k(jnp.array([row], jnp.float32), 5)
  assert columns.tolist() == [[6, 3, 5, 0, 1]]
  assert scores.tolist() == [[math.inf, 1.0, 1.0, 0.0, 0.0]]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
  seed=st.integers(0, 10_000),
  # Few static values: each combination is one compilation.
  num_valid=st.sampled_from([2, 8, 12]),
  k=st.sampled_from([4, 15]),
  masked=st.booleans(),
)
@pytest.mark.parametrize("block", [3, 5, 7, 12])
def test_blockwise_equals_sorting(block, seed, num_valid, k, masked):
  rng = np.random.default_rng(seed)
  # Small integers: exact products and many ties.
  query = rng.integers(-1, 2, (3, 2)).astype(np.float32)
  items = np.zeros((12, 2), np.float32)
  items[:num_valid] = rng.integers(-1, 2, (num_valid, 2))
  items[0] = 9.0  # The pad row would win if it were scored.
  if seed % 3 == 0:
    items[num_valid - 1, 0] = np.nan
  keep = rng.random((3, 12)) < 0.6 if masked else np.ones((3, 12), bool)
  words = (keep * 2 ** np.arange(12, dtype=np.uint32)[None]).sum(
    axis=1, keepdims=True, dtype=np.uint32
  )
  ids, scores = _search(
    jnp.asarray(query),
    jnp.asarray(items),
    k,
    num_valid=num_valid,
    block=block,
    allowed_BW=jnp.asarray(words) if masked else None,
  )
  keep = keep & (np.arange(12) > 0) & (np.arange(12) < num_valid)
  expected_ids, expected_scores = _sorted_reference(query @ items.T, k, keep)
  np.testing.assert_array_equal(ids, expected_ids)
  np.testing.assert_array_equal(scores, expected_scores)
