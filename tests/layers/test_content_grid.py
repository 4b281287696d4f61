# SPDX-License-Identifier: Apache-2.0
"""Squares of numbers as content: convolutions against a loop, and its place
where text would stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.content_grid import ContentGrid
from genrec_jax.layers.item_content import ContentEncoder

_SIDE = 4


def test_it_is_an_encoder_and_its_numbers_are_those_of_a_loop():
  encoder = ContentGrid(content_width=_SIDE**2, width=3, channels=(2,))
  assert isinstance(encoder, ContentEncoder)
  content = np.random.default_rng(0).normal(size=(2, _SIDE**2))
  content = jnp.asarray(content, jnp.float32)
  params = encoder.init(jax.random.key(0), content, deterministic=True)
  found = encoder.apply(params, content, deterministic=True)
  own = jax.tree.map(np.asarray, params["params"])
  kernel, bias = own["conv_0"]["kernel"], own["conv_0"]["bias"]
  for row, square in zip(
    found, np.asarray(content).reshape(2, _SIDE, _SIDE), strict=True
  ):
    # 4 places at steps of 2 need one row and column of zeros, behind.
    padded = np.pad(square, ((0, 1), (0, 1)))
    places = [
      np.maximum(
        np.einsum("ab,abc->c", padded[y : y + 3, x : x + 3], kernel[:, :, 0])
        + bias,
        0,
      )
      for y in (0, 2)
      for x in (0, 2)
    ]
    wanted = np.mean(places, axis=0) @ own["output"]["kernel"]
    np.testing.assert_allclose(
      row, wanted + own["output"]["bias"], rtol=1e-4, atol=1e-5
    )


def test_what_is_no_square_is_refused():
  with pytest.raises(ValueError, match="content_width=15 is no square"):
    ContentGrid(content_width=15, width=3)
