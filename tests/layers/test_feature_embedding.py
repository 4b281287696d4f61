# SPDX-License-Identifier: Apache-2.0
"""The stacked table: every value of every feature has a row of its own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.feature_embedding import FeatureEmbedding

_ROWS = (3, 1, 4)


def _layer(**options):
  layer = FeatureEmbedding(_ROWS, 2, **options)
  ids = jnp.zeros((1, 3), jnp.int32)
  return layer, layer.init(jax.random.key(0), ids)


def test_no_two_values_share_a_row():
  layer, variables = _layer(row_multiple=8)
  table = variables["params"]["embedding"]
  assert table.shape == (16, 2)
  rows = jnp.arange(16.0)[:, None] * jnp.ones((1, 2))
  variables = {"params": {"embedding": rows}}
  every = jnp.array(list(itertools.product(*map(range, _ROWS))))
  found = layer.apply(variables, every)[..., 0]
  by_feature = [set(found[:, f].tolist()) for f in range(3)]
  assert by_feature == [{1, 2, 3}, {4}, {5, 6, 7, 8}]


@pytest.mark.slow
def test_some_features_by_their_places():
  layer, variables = _layer()
  ids = jnp.array([[[2, 0, 3], [1, 0, 0]]])
  found = layer.apply(variables, ids)
  some = layer.apply(variables, ids[..., jnp.array([2, 0])], (2, 0))
  np.testing.assert_array_equal(some[..., 0, :], found[..., 2, :])
  np.testing.assert_array_equal(some[..., 1, :], found[..., 0, :])
