# SPDX-License-Identifier: Apache-2.0
"""Alignment of codes: against a loop, and what it moves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.data.layouts.catalog import CatalogData
from genrec_jax.layers.diverse_quantizer import DiverseQuantizer
from genrec_jax.layers.quantizer import ResidualQuantizer
from genrec_jax.models.letter import Letter, principal_axes
from genrec_jax.objectives.code_alignment import CodeAlignment, CodeDiversity
from genrec_jax.train.state import init_params

_N, _D, _E, _K = 48, 10, 7, 5
_ITEMS = Items(_N, lambda ids: ids)


def _others():
  rng = np.random.default_rng(1)
  h = rng.normal(size=(_N, _E)) * 2.0 ** -np.arange(_E) + 3
  known = np.arange(_N) % 5 > 0
  return (h * known[:, None]).astype(np.float32), known


def _batch():
  rng = np.random.default_rng(0)
  shape, (h, known) = (4, _N // 4), _others()
  item = np.arange(1, _N + 1).reshape(shape)
  batch = {
    "item_BL": item,
    "segment_ids_BL": np.broadcast_to(np.arange(1, shape[1] + 1), shape),
    "vector_BLD": rng.normal(size=(*shape, _D)).astype(np.float32),
    "collaborative_BLE": h.reshape(*shape, _E),
    "collaborative_known_BL": known.reshape(shape),
  }
  return jax.tree.map(jnp.asarray, batch)


@functools.cache
def _start(cf_grad="encoder"):
  system = Letter(
    num_items=_N,
    vector_width=_D,
    widths=(12,),
    quantizer=DiverseQuantizer(
      (8, 8), _K, num_groups=3, smallest=2, largest=4, regroup_steps=3
    ),
    collaborative_width=_E,
    cf_grad=cf_grad,
  )
  batch = _batch()
  params = init_params(system, batch, jax.random.key(0))
  vectors = np.array(batch["vector_BLD"]).reshape(_N, _D)
  data = CatalogData(vectors, *_others())
  return system, system.data_init(params, data, jax.random.key(1))


def _outputs(system, params):
  rngs = {"dropout": jax.random.key(3)}
  return system.apply(
    {"params": params}, _batch(), deterministic=False, rngs=rngs
  )


@pytest.mark.parametrize("cf_grad", ["encoder", "codes"])
def test_alignment_equals_a_loop_and_moves_what_it_says(cf_grad):
  system, params = _start(cf_grad)

  @jax.jit
  def loss(params):
    outputs = _outputs(system, params)
    key = jax.random.key(0)
    value, _ = CodeAlignment()(outputs, _batch(), rng=key, items=_ITEMS)
    return value, outputs.aux

  (value, aux), gradient = jax.value_and_grad(loss, has_aux=True)(params)
  z, codes = np.zeros((_N, _K)), np.array(aux["codes_BLM"]).reshape(_N, 2)
  for level in range(2):
    book = np.array(params["quantizer"][f"level_{level}"]["embedding"])
    z += book[codes[:, level]]
  h, known = _others()
  h = (h - np.array(params["collaborative_mean"])) @ params["projection"]
  losses = []
  for i in np.flatnonzero(known):
    scores = [z[i] @ h[j] for j in np.flatnonzero(known)]
    losses.append(np.log(np.exp(scores).sum()) - z[i] @ h[i])
  np.testing.assert_allclose(value, np.mean(losses), rtol=1e-4)

  def moved(part):
    parts = [np.abs(x).max() for x in jax.tree.leaves(gradient[part])]
    return max(parts)

  books = [gradient["quantizer"][f"level_{n}"]["embedding"] for n in range(2)]
  by_codes = max(np.abs(book).max() for book in books)
  if cf_grad == "encoder":
    assert by_codes == 0 and moved("encoder_0") > 1e-4
  else:
    assert by_codes > 1e-4 and moved("encoder_0") == 0
  assert moved("decoder_0") == 0


def test_a_repeated_item_is_no_negative_of_its_own():
  system, params = _start()
  outputs = _outputs(system, params)
  batch = _batch()
  twice = {
    **batch,
    "item_BL": batch["item_BL"].at[0, 2].set(2),
  }  # 2nd is item 2
  key = jax.random.key(0)
  one, _ = CodeAlignment()(outputs, batch, rng=key, items=_ITEMS)
  two, _ = CodeAlignment()(outputs, twice, rng=key, items=_ITEMS)
  assert float(two) < float(one)


def test_axes_keep_most_of_the_variance_and_are_of_unit_size():
  h, known = _others()
  mean, axes = principal_axes(h[known], _K)
  x = (h[known] - mean) @ axes
  np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(np.square(x).mean(), 1, rtol=1e-5)
  covariance = x.T @ x / len(x)
  np.testing.assert_allclose(
    covariance - np.diag(np.diag(covariance)), 0, atol=1e-5
  )
  scale = np.linalg.norm(axes, axis=0)[0]
  kept = np.square(x / scale).sum() / np.square(h[known] - mean).sum()
  assert kept > 0.99
  with pytest.raises(ValueError, match="codes are 8 wide and collaborative"):
    principal_axes(h, 8)


def test_axes_are_those_of_known_items_alone():
  _, params = _start()
  h, known = _others()
  mean, axes = principal_axes(h[known], _K)
  np.testing.assert_allclose(params["collaborative_mean"], mean, rtol=1e-5)
  np.testing.assert_allclose(params["projection"], axes, atol=1e-5)
  assert np.abs(h.mean(axis=0) - mean).max() > 0.1


def test_diversity_is_the_mean_over_real_items_and_needs_the_quantizer():
  system, params = _start()
  outputs, key = _outputs(system, params), jax.random.key(0)
  batch = {
    **_batch(),
    "segment_ids_BL": _batch()["segment_ids_BL"].at[0].set(0),
  }
  loss, _ = CodeDiversity()(outputs, batch, rng=key, items=_ITEMS)
  np.testing.assert_allclose(
    loss, np.array(outputs.aux["diversity_BL"])[1:].mean(), rtol=1e-6
  )
  for aux in ({}, None):
    with pytest.raises(ValueError, match=r"layers\.DiverseQuantizer"):
      CodeDiversity()(Outputs(aux=aux), batch, rng=key, items=_ITEMS)


def test_what_the_gradient_reaches_is_named():
  with pytest.raises(ValueError, match="'encoder' or 'codes'"):
    Letter(
      num_items=1,
      vector_width=1,
      widths=(),
      quantizer=ResidualQuantizer((2,), 2),
      cf_grad="both",
    )
