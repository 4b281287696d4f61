# SPDX-License-Identifier: Apache-2.0
"""Cross-entropy of codes: the definition, masks, weights, smoothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.tokens import CodeCrossEntropy

_SIZES = (4, 3)


def _case():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 3, 2, 4)).astype(np.float32) * 3
  logits[..., 1, _SIZES[1] :] = -1e9  # a level of fewer codes
  codes = np.stack([rng.integers(0, s, (2, 3)) for s in _SIZES], -1)
  batch = {
    "target_codes_BSM": jnp.asarray(codes, jnp.int32),
    "target_item_BS": jnp.asarray([[0, 5, 6], [0, 7, 0]], jnp.int32),
  }
  return jnp.asarray(logits), batch


def _loss(objective, logits, batch, **more):
  items = Items(9, lambda ids: ids)
  return objective(
    Outputs(logits=logits), batch, rng=jax.random.key(0), items=items, **more
  )


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_the_definition(temperature, smoothing):
  logits, batch = _case()
  loss, parts = _loss(CodeCrossEntropy(temperature, smoothing), logits, batch)
  total, levels = 0.0, np.zeros(2)
  for row, place in ((0, 1), (0, 2), (1, 1)):
    for level, size in enumerate(_SIZES):
      z = np.array(logits)[row, place, level, :size] / temperature
      p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
      wanted = np.full(size, smoothing / size)
      wanted[batch["target_codes_BSM"][row, place, level]] += 1 - smoothing
      levels[level] -= np.sum(wanted * np.log(p))
  total = levels.sum() / 3
  np.testing.assert_allclose(loss, total, rtol=1e-5)
  np.testing.assert_allclose(parts["level_1"].compute(), levels[1] / 3, 1e-5)
  assert float(parts["codes"].count) == 3


def test_places_without_a_target_get_no_gradient():
  logits, batch = _case()
  gradient = jax.grad(
    lambda z: _loss(CodeCrossEntropy(label_smoothing=0.1), z, batch)[0]
  )(logits)
  there = np.array(batch["target_item_BS"]) > 0
  assert np.all(np.array(gradient)[~there] == 0)
  assert np.all(np.abs(np.array(gradient)[there]).max(axis=(1, 2)) > 0)
  assert np.isfinite(gradient).all()


def test_no_target_at_all_is_a_loss_of_zero():
  logits, batch = _case()
  where = jnp.zeros((2, 3), bool)
  loss, _ = _loss(CodeCrossEntropy(), logits, batch, where=where)
  assert float(loss) == 0


def test_weights_count():
  logits, batch = _case()
  one = jnp.zeros((2, 3)).at[0, 2].set(2.0)
  weighted, _ = _loss(CodeCrossEntropy(), logits, batch, weights=one)
  alone, _ = _loss(
    CodeCrossEntropy(), logits, batch, where=jnp.asarray(one > 0)
  )
  np.testing.assert_allclose(weighted, alone, rtol=1e-6)


def test_what_system_or_layout_lack_is_said():
  logits, batch = _case()
  no_codes = {"target_item_BS": batch["target_item_BS"]}
  for given, of in ((None, batch), (logits, no_codes)):
    with pytest.raises(ValueError, match=r"models\.TokenDecoder.*TokenHistory"):
      _loss(CodeCrossEntropy(), given, of)
