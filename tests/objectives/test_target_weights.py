# SPDX-License-Identifier: Apache-2.0
"""Targets that were taken, weighted, against loops; mean and sum of levels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives import CodeCrossEntropy, TakenTargets

_ITEMS = Items(9, lambda ids: ids)
_TAKEN = np.array([[1, 0, 1], [1, 1, 0]])
_Q = np.array([[0.5, 0.9, 0.25], [-1.0, 1.0, 0.3]], np.float32)


def _case():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  codes = rng.integers(0, 5, (2, 3, 4)).astype(np.int32)
  return logits, codes


def _loss(objective, logits, codes, taken=_TAKEN, **more):
  batch = {
    "target_item_BS": jnp.ones((2, 3), jnp.int32),
    "target_codes_BSM": jnp.asarray(codes),
    "target_taken_BS": jnp.asarray(taken),
    "target_percentile_BS": jnp.asarray(_Q),
  }
  return objective(
    Outputs(logits=jnp.asarray(logits)), batch, rng=jax.random.key(0),
    items=_ITEMS, **more,
  )[0]  # fmt: skip


@pytest.mark.parametrize("by_percentile", [False, True])
@pytest.mark.parametrize("level_mean", [False, True])
def test_the_loss_is_that_of_a_loop(by_percentile, level_mean):
  logits, codes = _case()
  total = weight = 0.0
  for b, s in np.argwhere(_TAKEN):
    x = logits[b, s].astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    loss = -sum(log_p[m, codes[b, s, m]] for m in range(4))
    w = max(float(_Q[b, s]), 0.0) if by_percentile else 1.0
    total += w * (loss / 4 if level_mean else loss)
    weight += w
  loss = CodeCrossEntropy(level_mean=level_mean)
  found = _loss(TakenTargets(loss, by_percentile), logits, codes)
  np.testing.assert_allclose(found, total / weight, rtol=1e-5)


def test_mean_and_sum_of_levels_differ_by_their_number():
  logits, codes = _case()
  mean, total = (
    _loss(CodeCrossEntropy(level_mean=m), logits, codes) for m in (True, False)
  )
  np.testing.assert_allclose(total, 4 * mean, rtol=1e-6)
  three = [
    _loss(CodeCrossEntropy(level_mean=m), logits[:, :, :3], codes[:, :, :3])
    for m in (True, False)
  ]
  np.testing.assert_allclose(three[1], 3 * three[0], rtol=1e-6)


def test_what_is_not_taken_has_no_gradient():
  logits, codes = _case()
  objective = TakenTargets(CodeCrossEntropy())
  gradient = jax.grad(lambda x: _loss(objective, x, codes))(jnp.asarray(logits))
  moved = np.abs(np.asarray(gradient)).sum(axis=(2, 3)) > 0
  np.testing.assert_array_equal(moved, _TAKEN > 0)
  none = np.zeros_like(_TAKEN)
  found = jax.grad(lambda x: _loss(objective, x, codes, taken=none))(
    jnp.asarray(logits)
  )
  assert not np.asarray(found).any()
  where = jnp.asarray(_TAKEN == 0)
  assert _loss(objective, logits, codes, where=where) == 0


def test_a_layout_that_tells_nothing_is_an_error():
  batch = {"target_item_BS": jnp.ones((2, 3))}
  with pytest.raises(ValueError, match="set config.pipeline.layout.watched"):
    TakenTargets(CodeCrossEntropy())(
      Outputs(), batch, rng=jax.random.key(0), items=_ITEMS
    )
