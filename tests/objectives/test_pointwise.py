# SPDX-License-Identifier: Apache-2.0
"""The pointwise loss against probabilities by hand, and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.pointwise import BinaryCrossEntropy, task_labels

_ITEMS = Items(3, lambda ids: jnp.zeros((1, 1)))


def _loss(objective, logits, label, labelled, **kwargs):
  batch = {
    "label_BL": jnp.asarray(label, jnp.int32),
    "labelled_BL": jnp.asarray(labelled, jnp.int32),
  }
  return objective(
    Outputs(logits=logits), batch, rng=jax.random.key(0), items=_ITEMS, **kwargs
  )


def test_equals_log_probabilities_of_labelled_positions():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(2, 3, 2)) * 3
  label = np.array([[0b10, 0b01, 0b11], [0b00, 0b10, 0b01]])
  labelled = np.array([[1, 0, 1], [1, 1, 0]])
  objective = BinaryCrossEntropy(("click", "like"), weights=(1.0, 3.0))
  loss, parts = _loss(objective, jnp.asarray(logits), label, labelled)
  p = 1 / (1 + np.exp(-logits))
  means = []
  for task in range(2):
    y = (label >> task) & 1
    nll = -np.where(y, np.log(p[..., task]), np.log(1 - p[..., task]))
    means.append(nll[labelled > 0].mean())
  np.testing.assert_allclose(parts["click"].compute(), means[0], rtol=1e-5)
  np.testing.assert_allclose(parts["like"].compute(), means[1], rtol=1e-5)
  np.testing.assert_allclose(loss, means[0] + 3 * means[1], rtol=1e-5)
  assert loss.dtype == jnp.float32


@pytest.mark.slow
def test_no_label_gives_zero_and_what_is_masked_has_no_gradient():
  objective = BinaryCrossEntropy(("click",))
  logits = jnp.array([[[jnp.nan], [1.0], [jnp.inf]]], jnp.bfloat16)

  def loss(logits, labelled):
    return _loss(objective, logits, [[1, 0, 1]], labelled)[0]

  assert loss(logits, [[0, 0, 0]]) == 0
  gradient = jax.grad(loss)(logits, [[0, 1, 0]])
  assert gradient[0, 0, 0] == 0 and gradient[0, 2, 0] == 0
  assert gradient[0, 1, 0] > 0
  value, _ = _loss(
    objective, jnp.ones((1, 2, 1)), [[1, 0]], [[1, 1]],
    where=jnp.array([[True, False]]),
  )  # fmt: skip
  np.testing.assert_allclose(value, np.log1p(np.exp(-1)), rtol=1e-6)


def test_extreme_logits_stay_finite():
  objective = BinaryCrossEntropy(("click",))
  loss, _ = _loss(objective, jnp.full((1, 1, 1), 500.0), [[0]], [[1]])
  assert loss == 500


def test_labels_are_bits_lowest_first():
  got = task_labels(jnp.array([[0b110, 0b001]]), 3)
  np.testing.assert_array_equal(got, [[[0, 1, 1], [1, 0, 0]]])


def test_numbers_that_do_not_match_are_errors():
  with pytest.raises(ValueError, match="2 tasks"):
    BinaryCrossEntropy(("a", "b"), weights=(1.0,))
  with pytest.raises(ValueError, match="gives 1 logits"):
    _loss(BinaryCrossEntropy(("a", "b")), jnp.ones((1, 1, 1)), [[0]], [[1]])
