# SPDX-License-Identifier: Apache-2.0
"""Vectors of others in a ranker: by hand, and nothing where they are zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.interactions import Concat, CrossNetwork
from genrec_jax.layers.vector_features import VectorFeatures
from genrec_jax.models.feature_ranker import FeatureRanker
from tests.models.compiled import apply

_B, _L, _Q, _E, _C, _D = 2, 3, 2, 5, 4, 4


def _vectors(seed=0, scale=1.0):
  rng = np.random.default_rng(seed)
  shapes = {
    "user_vectors_BLQE": (_B, _L, _Q, _E),
    "item_vector_BLE": (_B, _L, _E),
    "content_BLC": (_B, _L, _C),
  }
  return {
    name: jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
    for name, shape in shapes.items()
  }


def test_each_kind_by_hand():
  layer, batch = VectorFeatures(content=True), _vectors()
  params = layer.init(jax.random.key(0), batch, _D)["params"]
  found = np.asarray(layer.apply({"params": params}, batch, _D))
  o, e, c = (np.asarray(x, np.float64) for x in batch.values())
  w = {k: np.asarray(v["kernel"], np.float64) for k, v in params.items()}
  scores = np.array(
    [
      [[o[b, n, q] @ e[b, n] for q in range(_Q)] for n in range(_L)]
      for b in range(_B)
    ]
  )
  parts = [
    *(o[:, :, q] @ w["answers_in"] for q in range(_Q)),
    scores @ w["scores_in"],
    e @ w["item_in"],
    c @ w["content_in"],
  ]
  np.testing.assert_allclose(found, np.stack(parts, axis=2), atol=1e-5)
  assert layer.reads == ("users", "content")
  only = VectorFeatures(answers=False, item=False)
  params = {"scores_in": params["scores_in"]}
  found = only.apply({"params": params}, batch, _D)
  np.testing.assert_allclose(found[:, :, 0], parts[_Q], atol=1e-5)


def test_a_layer_that_reads_nothing_is_refused():
  with pytest.raises(ValueError, match="config.system.vectors reads nothing"):
    VectorFeatures(answers=False, scores=False, item=False)


@functools.cache
def _ranker(interactions, vectors):
  return FeatureRanker(
    num_items=9,
    num_tasks=2,
    num_actions=2,
    feature_rows=(5, 6),
    history_columns=(0,),
    width=_D,
    pooling=SumPooling(),
    interactions=interactions,
    tower_widths=(7,),
    embedding_init_std=0.3,
    vectors=vectors,
  )


def _batch():
  rng = np.random.default_rng(4)
  arrays = {
    "features_BLF": rng.integers(0, 5, (_B, _L, 2)),
    "history_features_BLHG": rng.integers(0, 5, (_B, _L, 3, 1)),
    "history_item_BLH": rng.integers(0, 2, (_B, _L, 3)),
    "history_action_BLH": rng.integers(0, 4, (_B, _L, 3)),
    "segment_ids_BL": np.ones((_B, _L)),
  }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@pytest.mark.parametrize(
  "interactions", [Concat(), CrossNetwork(2)], ids=["concat", "cross"]
)
def test_zeros_leave_a_ranker_what_it_is_without(interactions):
  """The same parameters, but for rows that meet the zeros."""
  with_vectors = _ranker(interactions, VectorFeatures())
  without, batch = _ranker(interactions, None), _batch()
  assert with_vectors.reads_vectors == ("users",) and not without.reads_vectors
  given = batch | _vectors()
  params = with_vectors.init(jax.random.key(1), given, deterministic=True)
  params = params["params"]
  shapes = jax.eval_shape(
    functools.partial(without.init, deterministic=True),
    jax.random.key(1),
    batch,
  )["params"]
  # F + G vectors come first, and what is read of others behind them.
  kept = jax.tree.map(
    lambda x, shape: x[tuple(slice(n) for n in shape.shape)],
    {name: params[name] for name in shapes},
    shapes,
  )
  plain = apply(without, {"params": kept}, batch, method="score")
  zeros = {k: jnp.zeros_like(v) for k, v in _vectors().items()}
  nothing = apply(
    with_vectors, {"params": params}, batch | zeros, method="score"
  )
  np.testing.assert_allclose(nothing, plain, atol=1e-6)
  told = apply(with_vectors, {"params": params}, given, method="score")
  assert np.abs(told - plain).max() > 1e-3
