# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy over all items equals the one with all the logits."""

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops import linear_cross_entropy as module
from genrec_jax.ops.linear_cross_entropy import linear_cross_entropy


def _naive(query, table, labels, skip_first):
  logits = query @ table.T
  if skip_first:
    logits = logits.at[:, 0].set(-jnp.inf)
  log_share = jax.nn.log_softmax(logits)
  return -jnp.take_along_axis(log_share, labels[:, None], axis=1)[:, 0]


# Every example compiles anew.
@pytest.mark.slow
@settings(max_examples=12)
@given(
  tokens=st.sampled_from([1, 7]),
  items=st.sampled_from([2, 11]),
  item_block=st.sampled_from([1, 4, 11, 12]),
  block_scores=st.sampled_from([1, 8, 30, 10_000]),
  skip_first=st.booleans(),
)
def test_equals_the_naive_loss_and_gradients(
  tokens, items, item_block, block_scores, skip_first
):
  rng = np.random.default_rng(tokens * items)
  query = jnp.asarray(rng.normal(0, 3, (tokens, 4)), jnp.float32)
  table = jnp.asarray(rng.normal(0, 3, (items, 4)), jnp.float32)
  labels = jnp.asarray(rng.integers(1, items, tokens))
  weights = jnp.asarray(rng.normal(size=tokens), jnp.float32)

  def ours(query, table):
    loss = linear_cross_entropy(
      query, table, labels, skip_first=skip_first, item_block=item_block
    )
    return jnp.sum(loss * weights)

  def naive(query, table):
    return jnp.sum(_naive(query, table, labels, skip_first) * weights)

  patch = pytest.MonkeyPatch()
  patch.setattr(module, "_BLOCK_SCORES", block_scores)
  got = jax.value_and_grad(ours, (0, 1))(query, table)
  patch.undo()
  expected = jax.value_and_grad(naive, (0, 1))(query, table)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4),
    got,
    expected,
  )


def test_large_scores_do_not_overflow():
  query, table = jnp.full((1, 1), 200.0), jnp.array([[0.0], [1.0], [-1.0]])
  loss = linear_cross_entropy(query, table, jnp.array([1]))
  assert loss[0] == pytest.approx(0.0, abs=1e-6)


def test_no_array_of_all_scores_is_made():
  tokens, items = 4096, 50_000
  query = jax.ShapeDtypeStruct((tokens, 8), jnp.float32)
  table = jax.ShapeDtypeStruct((items, 8), jnp.float32)
  labels = jax.ShapeDtypeStruct((tokens,), jnp.int32)
  compiled = (
    jax.jit(jax.grad(lambda *x: linear_cross_entropy(*x).sum(), (0, 1)))
    .lower(query, table, labels)
    .compile()
  )
  scores = tokens * items * 4
  assert compiled.memory_analysis().temp_size_in_bytes < scores / 10
