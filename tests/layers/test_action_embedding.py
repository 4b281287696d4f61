# SPDX-License-Identifier: Apache-2.0
"""Vectors of bit masks add up, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.layers.action_embedding import ActionEmbedding


def test_a_mask_is_the_sum_of_its_bits():
  layer = ActionEmbedding(num_actions=3, width=6)
  masks = jnp.arange(8, dtype=jnp.int32)[None]
  params = layer.init(jax.random.key(0), masks)
  found = np.asarray(layer.apply(params, masks))[0]
  bias = np.asarray(params["params"]["up"]["bias"])
  np.testing.assert_allclose(found[0], bias, atol=1e-6)
  of_bit = found[[1, 2, 4]] - found[0]
  for mask in range(8):
    bits = [mask >> t & 1 for t in range(3)]
    expected = found[0] + np.array(bits) @ of_bit
    np.testing.assert_allclose(found[mask], expected, atol=1e-5)
  assert len(np.unique(found.round(5), axis=0)) == 8
