# SPDX-License-Identifier: Apache-2.0
"""Groups keep their bounds, and are near in space where bounds allow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.bounded_groups import bounded_groups, drawn_beside

_groups = jax.jit(
  bounded_groups, static_argnames=("num_groups", "smallest", "largest")
)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
  ("groups", "smallest", "largest"),
  [(4, 10, 10), (4, 2, 14), (8, 5, 5), (3, 2, 30)],
)
def test_sizes_lie_within_bounds(seed, groups, smallest, largest):
  rng = np.random.default_rng(seed)
  # Nearly all in one place: k-means alone gives one large group.
  x = rng.normal(size=(40, 3)) * np.where(np.arange(40) < 34, 0.01, 9)[:, None]
  found = _groups(
    jnp.asarray(x, jnp.float32),
    jax.random.key(seed),
    num_groups=groups,
    smallest=smallest,
    largest=largest,
  )
  sizes = np.bincount(found, minlength=groups)
  assert sizes.sum() == 40
  assert sizes.min() >= smallest and sizes.max() <= largest


def test_separate_clusters_are_the_groups():
  middle = np.array([[0, 0], [50, 0], [0, 50]])
  which = np.repeat([0, 1, 2], [5, 8, 12])
  x = middle[which] + np.random.default_rng(0).normal(size=(25, 2))
  found = np.array(
    _groups(
      jnp.asarray(x, jnp.float32),
      jax.random.key(0),
      num_groups=3,
      smallest=2,
      largest=15,
    )
  )
  same = found[:, None] == found[None]
  np.testing.assert_array_equal(same, which[:, None] == which[None])


def test_bounds_that_cannot_be_met_are_refused():
  with pytest.raises(
    ValueError, match="5 vectors cannot be 2 groups of 3 to 4"
  ):
    bounded_groups(
      jnp.zeros((5, 2)), jax.random.key(0), num_groups=2, smallest=3, largest=4
    )


def test_another_member_is_drawn_and_every_one_may_be():
  group = jnp.array([0, 0, 0, 1, 2, 2])
  draw = jax.jit(functools.partial(drawn_beside, group, jnp.arange(6)))
  found = [draw(jax.random.key(seed)) for seed in range(40)]
  drawn = np.array([codes for codes, _ in found])
  np.testing.assert_array_equal(found[0][1], [1, 1, 1, 0, 1, 1])
  assert [set(drawn[:, code]) for code in (0, 1, 2, 4, 5)] == [
    {1, 2}, {0, 2}, {0, 1}, {5}, {4}
  ]  # fmt: skip
