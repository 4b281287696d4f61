# SPDX-License-Identifier: Apache-2.0
"""Losses of other logits: the loss itself, KL by hand, a constant teacher."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.aux_logits import AuxLogits, Distillation
from genrec_jax.objectives.pointwise import BinaryCrossEntropy

_TASKS = ("a", "b")
_rng = np.random.default_rng(0)
_LOGITS, _ONE, _TWO = (
  jnp.asarray(_rng.normal(size=(2, 3, 2)), jnp.float32) for _ in range(3)
)
_BATCH = {
  "label_BL": jnp.array([[0, 1, 2], [3, 0, 1]]),
  "labelled_BL": jnp.array([[1, 1, 1], [1, 0, 0]]),
}
_LOSS = BinaryCrossEntropy(_TASKS)


def _value(objective, logits=_LOGITS, **aux):
  return objective(
    Outputs(logits=logits, aux=aux),
    _BATCH,
    rng=jax.random.key(0),
    items=Items(1, lambda ids: ids),
  )


def test_the_loss_of_other_logits_is_the_loss():
  expected, parts = _value(_LOSS, _ONE)
  loss, found = _value(AuxLogits(_LOSS, "dense_logits"), dense_logits=_ONE)
  assert float(loss) == pytest.approx(float(expected))
  assert found.keys() == parts.keys()
  other, _ = _value(_LOSS, _TWO)
  both, found = _value(
    AuxLogits(_LOSS, "inner_logits"), inner_logits=(_ONE, _TWO)
  )
  assert float(both) == pytest.approx((float(expected) + float(other)) / 2)
  assert float(found["a"].count) == 2 * 4
  assert AuxLogits(_LOSS, "x").tasks == _TASKS


def test_distillation_is_a_divergence_from_a_constant():
  bad = jnp.where(_BATCH["labelled_BL"][..., None] > 0, _ONE, jnp.nan)
  loss, parts = _value(Distillation(), dense_logits=bad)
  total = 0.0
  for b, t in np.argwhere(np.asarray(_BATCH["labelled_BL"])):
    p, q = (1 / (1 + np.exp(-np.float64(z[b, t]))) for z in (_ONE, _LOGITS))
    total += (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
  assert float(loss) == pytest.approx(total / 4, rel=1e-4)
  assert float(parts["kl"].compute()) == pytest.approx(total / 8, rel=1e-4)

  def value(mine, teacher):
    return _value(Distillation(), mine, dense_logits=teacher)[0]

  of_mine, of_teacher = jax.grad(value, argnums=(0, 1))(_LOGITS, _ONE)
  assert of_mine.any() and not of_teacher.any()
  # Where they agree there is nothing to learn.
  assert float(value(_ONE, _ONE)) == pytest.approx(0, abs=1e-6)
  assert np.abs(jax.grad(value)(_ONE, _ONE)).max() < 1e-6


def test_logits_that_a_model_does_not_give():
  with pytest.raises(ValueError, match="'dense_logits'.*are inner_logits"):
    _value(AuxLogits(_LOSS, "dense_logits"), inner_logits=(_ONE,))
  with pytest.raises(ValueError, match="other logits are none"):
    _value(Distillation())
  with pytest.raises(ValueError, match="one set of logits, and .* are 2"):
    _value(Distillation("inner_logits"), inner_logits=(_ONE, _TWO))
