# SPDX-License-Identifier: Apache-2.0
"""Products that scores and losses are made of say that they are float32."""

import functools

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.layers.action_heads import LinearHead, MMoE, SharedMlp, TaskMlp
from genrec_jax.layers.code_embedding import CodeEmbedding
from genrec_jax.models.two_tower import TwoTower
from genrec_jax.objectives.contrastive import InBatchContrastive as Contrastive
from genrec_jax.objectives.negatives import (
  InBatchNegatives,
  UniformPerPosition,
  UniformShared,
)
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax
from genrec_jax.ops.indexed_dot import indexed_dot
from genrec_jax.ops.linear_cross_entropy import linear_cross_entropy
from genrec_jax.ops.precision import SCORES
from genrec_jax.ops.top_k import blockwise_top_k

_T, _V, _D = 6, 11, 5


def _products(jaxpr) -> list:
  """All products of a program, in whatever it calls."""
  found = [e for e in jaxpr.eqns if e.primitive.name == "dot_general"]
  for equation in jaxpr.eqns:
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")
    ):
      inner = getattr(inner, "jaxpr", inner)
      found += _products(inner) if hasattr(inner, "eqns") else []
  return found


def _assert_precise(fn, *args, at_least: int = 1) -> None:
  products = _products(jax.make_jaxpr(fn)(*args).jaxpr)
  assert len(products) >= at_least
  for product in products:
    assert product.params["precision"] == (SCORES, SCORES), product


def _draw(*shape):
  return jax.random.normal(jax.random.key(len(shape)), shape)


def _loss(objective, rows_only, query, table):
  labels = jnp.arange(_T)[None] % _V
  items = Items(
    _V - 1, lambda ids: table if ids is None else table[ids], rows_only
  )
  outputs, batch = Outputs(query=query), {"label_BL": labels}
  return objective(outputs, batch, rng=jax.random.key(0), items=items)[0]


@pytest.mark.parametrize(
  ("objective", "rows_only"),
  [
    (SampledSoftmax(UniformShared(4)), False),
    (SampledSoftmax(UniformPerPosition(4)), False),
    (SampledSoftmax(UniformPerPosition(4)), True),
    (SampledSoftmax(InBatchNegatives(4), correct_log_q=True), False),
    (FullSoftmax(), False),
  ],
)
def test_losses_and_their_gradients(objective, rows_only):
  loss = functools.partial(_loss, objective, rows_only)
  step = jax.value_and_grad(loss, argnums=(0, 1))
  _assert_precise(step, _draw(1, _T, _D), _draw(_V, _D), at_least=4)


def test_the_contrastive_loss():
  item = jnp.arange(1, _T + 1)

  def loss(anchor, partner):
    mean = Contrastive()(anchor, partner, item, item + _T, item > 0)
    return mean.compute()

  step = jax.value_and_grad(loss, argnums=(0, 1))
  _assert_precise(step, _draw(_T, _D), _draw(_T, _D), at_least=3)


@pytest.mark.parametrize("implementation", ["gather", "dense"])
def test_scores_of_listed_items(implementation):
  ids = jnp.zeros((_T, 3), jnp.int32)

  def total(query, table):
    found = indexed_dot(query, table, ids, implementation=implementation)
    return jnp.sum(found)

  step = jax.value_and_grad(total, argnums=(0, 1))
  _assert_precise(step, _draw(_T, _D), _draw(_V, _D), at_least=3)


def test_factors_of_few_bits_are_summed_in_float32():
  query, table = (_draw(n, _D).astype(jnp.bfloat16) for n in (_T, _V))
  labels = jnp.arange(_T)
  traced = jax.make_jaxpr(linear_cross_entropy)(query, table, labels)
  kinds = {p.outvars[0].aval.dtype for p in _products(traced.jaxpr)}
  assert kinds == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
  "head",
  [
    LinearHead(3),
    SharedMlp(3, (4, 4)),
    TaskMlp(3, 4),
    MMoE(3, 2, 4, gate_dropout=0.5),
  ],
)
def test_heads_of_rankers(head):
  # Even where what they read is less precise.
  h_BLD = _draw(2, _T, _D).astype(jnp.bfloat16)
  keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
  params = jax.eval_shape(lambda keys: head.init(keys, h_BLD, True), keys)

  def total(params):
    return jnp.sum(head.apply(params, h_BLD, False, rngs=keys))

  _assert_precise(jax.value_and_grad(total), params, at_least=2)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_of_codes(tied):
  layer = CodeEmbedding((4, 3), _D, tied=tied)
  h = _draw(2, 2, _D).astype(jnp.bfloat16)
  init = functools.partial(layer.init, method="all_logits")
  params = jax.eval_shape(init, jax.random.key(0), h)

  def total(params):
    return jnp.sum(layer.apply(params, h, method="all_logits"))

  _assert_precise(jax.value_and_grad(total), params, at_least=4)


def test_exact_retrieval():
  search = functools.partial(blockwise_top_k, k=3, num_valid=_V, block=4)
  _assert_precise(search, _draw(2, _D), _draw(_V, _D))


def test_two_towers():
  """All that is as wide as a vector or as the tasks."""
  system = TwoTower(
    *(_V, 2, 1, (9, 9), (1,), ()), width=3, vector_width=17, tower_widths=(4,)
  )
  batch = {
    "features_BLF": jnp.ones((2, 3, 2), jnp.int32),
    "segment_ids_BL": jnp.ones((2, 3), jnp.int32),
  }
  init = functools.partial(system.init, deterministic=True)
  params = jax.eval_shape(init, jax.random.key(0), batch)
  traced = jax.make_jaxpr(
    lambda params: system.apply(params, batch, deterministic=True)
  )(params)
  precise = [
    p.params["precision"] == (SCORES, SCORES) for p in _products(traced.jaxpr)
  ]
  # A hidden layer of each tower has the default; heads, logits, query.
  assert precise.count(True) == 4 and precise.count(False) == 2
