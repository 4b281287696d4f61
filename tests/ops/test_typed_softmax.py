# SPDX-License-Identifier: Apache-2.0
"""Softmaxes by type against NumPy, and rows that have too much of a type."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.action_masks import task_logits
from genrec_jax.ops.typed_softmax import places_where, typed_log_probs

_STARTS, _SIZES = (0, 1, 4), (1, 3, 2)


def _found(table_VD, h_BLD, label_BL, type_BL, most):
  def logits_of(h_BND, kind):
    start = _STARTS[kind]
    return h_BND @ table_VD[start : start + _SIZES[kind]].T

  found = jax.jit(
    lambda: typed_log_probs(h_BLD, label_BL, type_BL, logits_of, _STARTS, most)
  )
  return np.asarray(found())


@pytest.mark.parametrize("most", [(0, 3, 2), (0, 5, 5), (0, 3, 0)])
def test_log_probabilities_are_of_the_label_within_its_type(most):
  rng = np.random.default_rng(0)
  table_VD = rng.normal(size=(6, 4)).astype(np.float32)
  h_BLD = rng.normal(size=(2, 5, 4)).astype(np.float32)
  type_BL = np.array([[1, 2, 1, 0, 1], [2, 0, 2, 0, 1]])
  label_BL = np.array([[3, 5, 1, 0, 2], [4, 0, 5, 0, 1]])
  found = _found(table_VD, *map(jnp.asarray, (h_BLD, label_BL, type_BL)), most)
  for row, place in np.ndindex(2, 5):
    kind = type_BL[row, place]
    if not most[kind]:
      assert found[row, place] == 0
      continue
    start, size = _STARTS[kind], _SIZES[kind]
    z = np.exp(table_VD[start : start + size].astype(float) @ h_BLD[row, place])
    p = z[label_BL[row, place] - start] / z.sum()
    assert found[row, place] == pytest.approx(np.log(p), abs=1e-5)


def test_a_row_with_more_labels_of_a_type_than_there_is_room_for_is_nan():
  rng = np.random.default_rng(1)
  table_VD = rng.normal(size=(6, 4)).astype(np.float32)
  h_BLD = jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32)
  type_BL = jnp.array([[1, 1, 1], [1, 2, 1]])
  label_BL = jnp.array([[1, 2, 3], [1, 4, 2]])
  found = _found(table_VD, h_BLD, label_BL, type_BL, (0, 2, 1))
  assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_places_are_the_first_in_order():
  where_BL = jnp.array([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]) > 0
  place_BN, more_B1 = places_where(where_BL, 2)
  assert place_BN.tolist() == [[1, 3], [5, 5]]
  assert more_B1.tolist() == [[True], [False]]


def test_a_task_is_all_combinations_that_have_it():
  rng = np.random.default_rng(2)
  z = rng.normal(size=(3, 8)) * 4
  z[0, 5] = -60.0
  p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
  found = np.asarray(task_logits(jnp.asarray(np.log(p), jnp.float32)))
  for task in range(3):
    mine = p[:, [mask for mask in range(8) if mask & 2**task]].sum(axis=1)
    np.testing.assert_allclose(
      found[:, task], np.log(mine) - np.log1p(-mine), rtol=1e-4
    )
  # Also where a float32 probability would be 1.
  far = jnp.array([[-40.0, 0.0]])
  assert float(task_logits(far)[0, 0]) == pytest.approx(40)
  with pytest.raises(ValueError, match="of T tasks there are 2"):
    task_logits(jnp.zeros((1, 3)))
