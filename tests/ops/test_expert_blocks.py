# SPDX-License-Identifier: Apache-2.0
"""Blocks: each pair is in one of its expert's, and there are no more."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.expert_blocks import Plan, block_rows

_E = 4


def _experts(case):
  rng = np.random.default_rng(1)
  if case == "one":
    return np.stack([np.full(30, 2), np.full(30, _E)], axis=1)
  if case == "none":
    return np.full((30, 2), _E)
  two = np.array([rng.permutation(_E + 1)[:2] for _ in range(30)])
  return np.sort(two, axis=1) if case == "sorted" else two


@pytest.mark.parametrize("case", ["one", "none", "sorted", "any"])
def test_every_pair_is_in_one_block(case):
  experts = _experts(case)
  plan = Plan.of(jnp.asarray(experts), _E, 0.5)
  counts = np.bincount(experts.ravel(), minlength=_E + 1)[:_E]
  assert plan.rows == 8
  assert int(plan.num_blocks) == sum(-(-n // 8) for n in counts)
  met = []
  for number in range(int(plan.num_blocks)):
    block = plan.block(jnp.int32(number))
    pairs, tokens = np.asarray(block.pairs_b), np.asarray(block.tokens_b)
    there = pairs < experts.size
    met += pairs[there].tolist()
    np.testing.assert_array_equal(tokens[there], pairs[there] // 2)
    assert (experts.ravel()[pairs[there]] == int(block.expert)).all()
    # The others are nowhere, each at a place of its own.
    assert (tokens[~there] >= len(experts)).all()
    assert len(set(pairs)) == len(set(tokens)) == 8
  assert sorted(met) == np.flatnonzero(experts.ravel() < _E).tolist()


@pytest.mark.parametrize(
  ("tokens", "rows"),
  [(0.0, 8), (31.9, 8), (32.0, 16), (682.7, 256), (1e6, 512)],
)
def test_a_block_is_a_quarter_to_a_half_of_an_expert(tokens, rows):
  assert block_rows(tokens) == rows
