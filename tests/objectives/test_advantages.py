# SPDX-License-Identifier: Apache-2.0
"""Normalised rewards against NumPy, groups of equal rewards, format rewards."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.objectives.advantages import (
  format_advantages,
  group_advantages,
  top_share_advantages,
)


@pytest.mark.parametrize("unbiased", [False, True])
def test_advantages_are_rewards_in_deviations_of_the_group(unbiased):
  rng = np.random.default_rng(0)
  reward = rng.normal(3, 2, (4, 6)).astype(np.float32)
  where = rng.random((4, 6)) < 0.7
  spoilt = np.where(where, reward, np.nan)
  compute = jax.jit(
    functools.partial(group_advantages, epsilon=0.1, unbiased=unbiased)
  )
  found = compute(jnp.asarray(spoilt), where=jnp.asarray(where))
  for g in range(4):
    kept = reward[g, where[g]].astype(np.float64)
    scale = kept.std(ddof=int(unbiased)) + 0.1
    np.testing.assert_allclose(
      found.advantage_GK[g, where[g]], (kept - kept.mean()) / scale, rtol=1e-4
    )
  np.testing.assert_array_equal(found.advantage_GK[~where], 0)
  assert found.varied_G.all() and found.constant.compute() == 0


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_equal_rewards_are_exactly_0_and_counted(epsilon):
  # The float32 mean of seven times .1 is not .1, and its "deviation" not 0.
  tenth = np.full(7, 0.1, np.float32)
  assert tenth.sum() / np.float32(7) != tenth[0]
  reward = np.stack([tenth, tenth, np.arange(7), tenth]).astype(np.float32)
  where = np.ones((4, 7), bool)
  where[1, 3:] = False  # Three of them
  reward[1, 3:] = 5
  where[3] = False  # No sample is no group.
  found = jax.jit(functools.partial(group_advantages, epsilon=epsilon))(
    jnp.asarray(reward), where=jnp.asarray(where)
  )
  np.testing.assert_array_equal(found.advantage_GK[jnp.array([0, 1, 3])], 0)
  np.testing.assert_array_equal(found.varied_G, [False, False, True, False])
  assert found.constant.total == 2 and found.constant.count == 3
  assert np.abs(found.advantage_GK[2]).max() > 1


def test_one_sample_is_constant_whichever_the_deviation():
  for unbiased in (False, True):
    found = group_advantages(jnp.ones((1, 1)), unbiased=unbiased)
    assert found.advantage_GK[0, 0] == 0 and found.constant.total == 1


def test_a_reward_that_is_nan_is_seen():
  found = group_advantages(jnp.array([[1.0, jnp.nan]]))
  assert jnp.isnan(found.advantage_GK).all()


def test_rewards_have_no_gradient_and_may_be_bfloat16():
  reward = jnp.array([[0.5, 1.0, 2.0]], jnp.bfloat16)
  gradient = jax.grad(lambda r: group_advantages(r).advantage_GK[0, 2])(reward)
  np.testing.assert_array_equal(gradient.astype(jnp.float32), 0)
  short = group_advantages(reward).advantage_GK
  assert short.dtype == jnp.float32
  np.testing.assert_array_equal(
    short, group_advantages(reward.astype(jnp.float32)).advantage_GK
  )


def test_format_rewards_go_to_the_legal_ones_of_a_random_draw():
  rng = np.random.default_rng(0)
  legal = np.zeros((3, 12), bool)
  legal[0] = True
  legal[1, :3] = True
  legal[2] = True
  where = np.ones((3, 12), bool)
  where[0, :6] = False
  where[2, 2:] = False
  draw = jax.jit(
    jax.vmap(
      lambda key: format_advantages(
        key, jnp.asarray(legal), count=4, where=jnp.asarray(where)
      )
    )
  )
  draws = 600
  keys = jax.random.split(jax.random.key(int(rng.integers(99))), draws)
  advantage, kept = map(np.asarray, draw(keys))
  np.testing.assert_array_equal(advantage, kept)
  assert not kept[:, ~(legal & where)].any()
  # Exactly four of the six that may be drawn, where all are legal.
  np.testing.assert_array_equal(kept[:, 0].sum(axis=1), 4)
  assert kept[:, 2, :2].all()  # There are no more.
  # Each of the twelve with a chance of 1/3: not four of the legal ones.
  spread = 5 * np.sqrt(1 / 3 * 2 / 3 / draws)
  np.testing.assert_allclose(kept[:, 1, :3].mean(axis=0), 1 / 3, atol=spread)
  spread = 5 * np.sqrt(2 / 3 * 1 / 3 / draws)
  np.testing.assert_allclose(kept[:, 0, 6:].mean(axis=0), 2 / 3, atol=spread)


@pytest.mark.parametrize("share", [0.25, 0.3, 1.0])
def test_the_best_share_of_a_batch_is_counted_exactly(share):
  """Few rewards, so that most are equal; unknown, dropped, refused ones."""
  rng = np.random.default_rng(4)
  reward = rng.integers(0, 4, (5, 8)) / 4.0
  reward[rng.random((5, 8)) < 0.2] = -1
  where = rng.random((5, 8)) < 0.8
  refused = rng.random((5, 8)) < 0.2
  spoilt = np.where(where, reward, np.nan)
  none = np.zeros((5, 8), bool)
  compute = jax.jit(functools.partial(top_share_advantages, share=share))
  arrays = (jnp.asarray(x) for x in (spoilt, none, where))
  key = jax.random.key(0)
  spoilt, none, counted = arrays
  found = np.asarray(compute(key, spoilt, none, where=counted))
  known = where & (reward >= 0)
  count = math.floor(round(share * known.sum(), 6))
  assert set(np.unique(found)) <= {0.0, 1.0} and found.sum() == count
  assert not found[~known].any()
  best = np.sort(reward[known])[::-1][:count]
  np.testing.assert_array_equal(np.sort(reward[found == 1])[::-1], best)
  found = np.asarray(compute(key, spoilt, jnp.asarray(refused), where=counted))
  np.testing.assert_array_equal(found == -1, refused & where)
  best = np.asarray(compute(key, spoilt, none, where=counted)) == 1
  np.testing.assert_array_equal(found == 1, best & ~refused)


def test_among_equal_rewards_it_is_drawn_which_are_best():
  draws = 2_000
  keys = jax.random.split(jax.random.key(1), draws)
  reward = jnp.array([0.5, 1.0, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5])
  compute = functools.partial(
    top_share_advantages, refused=reward < 0, share=0.5
  )
  found = np.asarray(jax.jit(jax.vmap(lambda k: compute(k, reward)))(keys))
  assert (found.sum(axis=1) == 4).all() and (found[:, 1] == 1).all()
  assert not found[:, 4].any()
  tied = found[:, [0, 2, 3, 5, 6, 7]].mean(axis=0)
  np.testing.assert_allclose(tied, 0.5, atol=5 * np.sqrt(0.25 / draws))


def test_options_that_cannot_be_are_errors():
  for epsilon in (-1e-9, float("nan"), float("inf")):
    with pytest.raises(ValueError, match="epsilon=.* 0 or more"):
      group_advantages(jnp.ones((1, 2)), epsilon=epsilon)
  with pytest.raises(ValueError, match="count=0 must be at least 1"):
    format_advantages(jax.random.key(0), jnp.ones((1, 2), bool), count=0)
