# SPDX-License-Identifier: Apache-2.0
"""Scores by list: both implementations agree, gradients too."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops import indexed_dot as module
from genrec_jax.ops.indexed_dot import indexed_dot


def _case(tokens, items, listed, seed=0):
  rng = np.random.default_rng(seed)
  query = jnp.asarray(rng.normal(size=(tokens, 5)), jnp.float32)
  table = jnp.asarray(rng.normal(size=(items, 5)), jnp.float32)
  ids = jnp.asarray(rng.integers(0, items, (tokens, listed)))
  return query, table, ids


# Every example compiles anew.
@pytest.mark.slow
@settings(max_examples=12)
@given(
  tokens=st.sampled_from([1, 5, 9]),
  items=st.sampled_from([1, 12]),
  listed=st.sampled_from([1, 4]),
  block=st.sampled_from([1, 20, 50, 10_000]),
)
def test_dense_equals_gather_in_any_blocks(tokens, items, listed, block):
  query, table, ids = _case(tokens, items, listed)

  def loss(query, table, implementation):
    scores = indexed_dot(query, table, ids, implementation=implementation)
    return jnp.sum(jnp.sin(scores))

  patch = pytest.MonkeyPatch()
  # Blocks of one token up to all of them, the last one ragged.
  patch.setattr(module, "_BLOCK_SCORES", block)
  with patch.context():
    results = [
      jax.value_and_grad(loss, (0, 1))(query, table, name)
      for name in ("dense", "gather")
    ]
  patch.undo()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *results
  )


def test_a_repeated_item_adds_its_gradients():
  query, table, _ = _case(1, 4, 1)
  ids = jnp.array([[2, 2, 2]])
  grad = jax.grad(
    lambda t: indexed_dot(query, t, ids, implementation="dense").sum()
  )(table)
  np.testing.assert_allclose(grad[2], 3 * query[0], rtol=1e-6)
  assert not np.any(np.asarray(grad[jnp.array([0, 1, 3])]))


def test_an_unknown_implementation_is_an_error():
  with pytest.raises(ValueError, match="'fast'; choices: 'gather', 'dense'"):
    indexed_dot(*_case(2, 3, 1), implementation="fast")
