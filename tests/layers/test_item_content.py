# SPDX-License-Identifier: Apache-2.0
"""Items encoded in the step: once each, with the gradients of all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import ItemData
from genrec_jax.layers import item_content
from genrec_jax.layers.item_content import (
  ContentMlp,
  ItemContent,
  with_data,
)

_V, _W = 20, 5


def _module(**options):
  encoder = ContentMlp(content_width=_W, width=4, hidden_widths=(6,))
  return ItemContent(_V, encoder, **options)


def _params(module):
  content = np.random.default_rng(0).normal(size=(_V + 1, _W))
  content[0] = 0
  ids = jnp.ones((1,), jnp.int32)
  params = module.init(jax.random.key(0), ids, deterministic=True)["params"]
  count = np.arange(_V + 1)
  params = with_data(params, ItemData(content.astype(np.float32), count))
  return jax.tree.map(jnp.asarray, params)


def _one_by_one(module, params, ids):
  return module.apply(
    {"params": params}, ids, deterministic=True, method="vectors"
  )


def _gathered(module, params, ids):
  return module.apply({"params": params}, ids, deterministic=True)[0]


@pytest.mark.parametrize("normalize", [True, False])
def test_once_per_item_is_once_per_occurrence_gradients_too(normalize):
  module = _module(normalize=normalize)
  params = _params(module)
  rng = np.random.default_rng(1)
  ids = jnp.asarray(rng.integers(0, 6, (3, 7)), jnp.int32)
  weights = jnp.asarray(rng.normal(size=(3, 7, 4)), jnp.float32)

  def loss(encode):
    def of(params):
      return jnp.sum(weights * encode(module, params, ids) ** 2)

    return jax.jit(jax.value_and_grad(of))(params)

  for a, b in zip(
    jax.tree.leaves(loss(_gathered)),
    jax.tree.leaves(loss(_one_by_one)),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_content_is_data_and_has_no_gradient():
  module = _module()
  params = _params(module)
  ids = jnp.arange(5, dtype=jnp.int32)
  gradient = jax.grad(lambda p: jnp.sum(_gathered(module, p, ids)))(params)
  assert not np.asarray(gradient["content"]).any()
  assert np.abs(gradient["encoder"]["output"]["kernel"]).max() > 0


def test_all_items_in_blocks_are_each_by_its_own(monkeypatch):
  monkeypatch.setattr(item_content, "_BLOCK", 8)
  module = _module()
  params = _params(module)
  whole = _one_by_one(module, params, None)
  each = _one_by_one(module, params, jnp.arange(_V + 1, dtype=jnp.int32))
  np.testing.assert_allclose(whole, each, atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(whole[1:], axis=1), 1, atol=1e-5)


def test_items_beyond_the_places_are_nan_and_no_others():
  module = _module(num_distinct=3)
  params = _params(module)
  ids = jnp.array([[4, 2, 9, 4]], jnp.int32)
  found = np.asarray(_gathered(module, params, ids))
  wanted = np.asarray(_one_by_one(_module(), params, ids))
  np.testing.assert_allclose(
    found[0, [0, 1, 3]], wanted[0, [0, 1, 3]], atol=1e-6
  )
  assert np.isnan(found[0, 2]).all()


def test_content_of_another_width_is_refused():
  params = _params(_module())
  with pytest.raises(ValueError, match="set content_width to 7"):
    with_data(params, ItemData(np.zeros((_V + 1, 7)), np.zeros(_V + 1)))


def test_shares_are_of_the_training_events():
  module = _module()
  params = _params(module)
  ids = jnp.array([[4, 2, 4]], jnp.int32)
  _, items = module.apply({"params": params}, ids, deterministic=True)
  total = _V * (_V + 1) / 2
  np.testing.assert_allclose(
    items.share_U, np.array([0, 2, 4, 0]) / total, rtol=1e-6
  )
  seen = module.apply({"params": params}, method="seen")
  np.testing.assert_array_equal(seen, [False, *[True] * _V])
