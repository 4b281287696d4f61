# SPDX-License-Identifier: Apache-2.0
"""Mixing entry by entry in NumPy, and back, for any numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.token_mixing import mix, revert

# Tokens, width, heads; leading dimensions.
_CASES = [(4, 8, 4, ()), (3, 8, 2, (2,)), (2, 12, 6, (2, 3)), (5, 7, 1, (1,))]


def _by_hand(x, heads):
  *lead, tokens, width = x.shape
  part = width // heads
  y = np.zeros((*lead, heads, tokens * part), x.dtype)
  for h in range(heads):
    for t in range(tokens):
      for i in range(part):
        y[..., h, t * part + i] = x[..., t, h * part + i]
  return y


@pytest.mark.parametrize(("tokens", "width", "heads", "lead"), _CASES)
def test_every_entry_goes_where_it_belongs_and_comes_back(
  tokens, width, heads, lead
):
  shape = (*lead, tokens, width)
  x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
  mixed = mix(jnp.asarray(x), heads)
  np.testing.assert_array_equal(mixed, _by_hand(x, heads))
  np.testing.assert_array_equal(revert(mixed, tokens), x)
  if heads == tokens:
    np.testing.assert_array_equal(mix(mixed, heads), x)


def test_mixing_multiplies_by_a_permutation_matrix():
  tokens, width, heads = 3, 8, 2
  units = jnp.eye(tokens * width).reshape(-1, tokens, width)
  matrix = np.asarray(mix(units, heads)).reshape(tokens * width, -1)
  assert set(np.unique(matrix)) == {0.0, 1.0}
  assert (matrix.sum(axis=0) == 1).all() and (matrix.sum(axis=1) == 1).all()
  back = revert(jnp.asarray(matrix).reshape(-1, heads, tokens * 4), tokens)
  np.testing.assert_array_equal(back, units)


@pytest.mark.parametrize("heads", [0, 3, -1])
def test_heads_that_do_not_divide_the_width(heads):
  with pytest.raises(ValueError, match=f"width 8 cannot be cut into {heads} "):
    mix(jnp.zeros((2, 8)), heads)
