# SPDX-License-Identifier: Apache-2.0
"""Rankers of mixed tokens: who is served by what, what learns, names."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.core.types import Items
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features.encoders import Hashed
from genrec_jax.data.features.features import Feature
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.layers.feature_tokens import FeatureGroups, SlicedTokens
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.interactions import Concat
from genrec_jax.layers.mixing_blocks import MixBlock, MixRevertBlock
from genrec_jax.layers.mixing_stack import MixingStack
from genrec_jax.layers.routers import ReluRouter
from genrec_jax.layers.slot_experts import TwoRouterSlotExperts
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.objectives import (
  AuxLogits,
  BinaryCrossEntropy,
  Distillation,
  RoutingLoss,
  WeightedSum,
)
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from tests.models.compiled import apply

_B, _L = 4, 16
_ROWS = (5, 6, 4)
_NAMES = ("item.id", "user.id", "user.age", "history.item.id")
_TOKENS = SlicedTokens(FeatureGroups(_NAMES, (("all", ("*",)),)), 4, 16)
_EXPERTS = TwoRouterSlotExperts(
  ReluRouter(sparsity=0.5, first_coefficient=1e-3), 4, 8
)
_STACKS = {
  "mix": MixingStack(_TOKENS, MixBlock(SlotFeedForward(16)), 2),
  "revert": MixingStack(
    _TOKENS,
    MixRevertBlock(SlotFeedForward(16, gated=True, out_scale=0.01)),
    3,
    inter_layer=2,
    final_norm=True,
  ),
  "two": MixingStack(_TOKENS, MixBlock(_EXPERTS), 1),
}
_LOSS = BinaryCrossEntropy(("equal",))
_DENSE = AuxLogits(_LOSS, "dense_logits")
_LOSSES = {
  "mix": _LOSS,
  "revert": WeightedSum(
    {"tasks": _LOSS, "inner": AuxLogits(_LOSS, "inner_logits")},
    {"tasks": 1.0, "inner": 0.1},
  ),
  "two": WeightedSum(
    {"tasks": _LOSS, "dense": _DENSE, "routing": RoutingLoss()},
    {"tasks": 0.5, "dense": 0.5, "routing": 1.0},
  ),
  "distil": WeightedSum(
    {"dense": _DENSE, "serving": Distillation(), "routing": RoutingLoss()},
    {"dense": 1.0, "serving": 1.0, "routing": 1.0},
  ),
}


@functools.cache
def _system(name):
  return FeatureRanker(
    num_items=9,
    num_tasks=1,
    num_actions=2,
    feature_rows=_ROWS,
    history_columns=(0,),
    width=8,
    pooling=SumPooling(),
    interactions=_STACKS[name],
    tower_widths=(16,),
    auxiliary_heads=name == "revert",
    embedding_init_std=0.3,
  )


def _batch(seed=0):
  """Whether the first two features are equal; two places are padding."""
  rng = np.random.default_rng(seed)
  features = np.stack([rng.integers(0, r, (_B, _L)) for r in _ROWS], -1)
  valid = np.ones((_B, _L), bool)
  valid[-1, -2:] = False
  arrays = {
    "features_BLF": features,
    "history_features_BLHG": rng.integers(0, 5, (_B, _L, 2, 1)),
    "history_item_BLH": np.ones((_B, _L, 2)),
    "history_action_BLH": rng.integers(0, 4, (_B, _L, 2)),
    "label_BL": features[..., 0] == features[..., 1],
    "labelled_BL": valid,
    "segment_ids_BL": valid,
  }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@functools.cache
def _params(name):
  return init_params(_system(name), _batch(), jax.random.key(0))


def _without(tree, name):
  """The same tree with all of a name set to 0."""
  return {
    key: jax.tree.map(jnp.zeros_like, node)
    if key == name
    else _without(node, name)
    if isinstance(node, dict)
    else node
    for key, node in tree.items()
  }


def test_serving_asks_its_own_router_and_training_both():
  system, batch = _system("two"), _batch()
  params = _params("two")
  block = params["interactions"]["blocks_0"]["ffn"]
  assert {"routing", "dense_routing", "experts"} == block.keys()
  served = apply(system, {"params": params}, batch, method="score")
  for name, same in (("dense_routing", True), ("routing", False)):
    moved = {"params": _without(params, name)}
    other = apply(system, moved, batch, method="score")
    assert np.array_equal(served, other) == same, name
  aux = apply(system, {"params": params}, batch, deterministic=True).aux
  assert aux.keys() == {"routed"}


@pytest.mark.parametrize("name", ["two", "distil"])
def test_the_serving_router_learns_of_the_task(name):
  """Not by its penalty alone, which would close all gates."""
  system, batch, objective = _system("two"), _batch(), _LOSSES[name]

  def loss(params, only):
    outputs = system.apply(
      {"params": params},
      batch,
      deterministic=False,
      rngs={"dropout": jax.random.key(1)},
    )
    found = objective.objectives[only]
    items = Items(9, lambda ids: ids)
    return found(outputs, batch, rng=jax.random.key(0), items=items)[0]

  gradients = jax.jit(jax.grad(loss), static_argnums=1)
  part = "tasks" if name == "two" else "serving"
  of = gradients(_params("two"), part)["interactions"]["blocks_0"]["ffn"]
  assert np.abs(of["routing"]["scores"]["logits"]).max() > 0
  assert not of["dense_routing"]["logits"].any()
  assert not of["routing"]["coefficient"]
  of = gradients(_params("two"), "dense")["interactions"]["blocks_0"]["ffn"]
  assert np.abs(of["dense_routing"]["logits"]).max() > 0
  assert not of["routing"]["scores"]["logits"].any()


_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in ("mix", "revert")]


@pytest.mark.parametrize("name", ["two", *_SLOW])
def test_it_learns_what_needs_two_features(name):
  system = _system(name)
  optimizer = adamw(2e-2)
  step = jax.jit(
    make_train_step(system, _LOSSES[name], optimizer, jax.random.key(0))
  )
  state = init_state(_params(name), optimizer)
  for i in range(200):
    state, metrics = step(state, _batch(i % 20))
  batch = _batch(100)
  logits = apply(system, {"params": state.params}, batch, method="score")
  right = (logits[..., 0] > 0) == (batch["label_BL"] > 0)
  # Always "no" is right in 5 of 6.
  where = batch["segment_ids_BL"] > 0
  assert float(jnp.mean(right, where=where)) > 0.94
  assert not logits[-1, -2:].any()
  parts = metrics["parts"]
  if name == "revert":
    assert "inner/equal" in parts
    assert state.params["inner_heads_0"]["kernel"].any()
  if name == "two":
    assert 0 < float(parts["routing/active"].compute()) < 1
    assert float(parts["routing/price"].compute()) != 1e-3


def test_a_layout_of_other_names_is_refused():
  def layout(*names):
    features = tuple(
      Feature(name, Hashed(size=rows))
      for name, rows in zip(names, (4, 5, 3), strict=True)
    )
    return PointwiseRows(features, ("item.id",), Feedback(("equal",)), 4, 2, 4)

  right = layout("item.id", "user.id", "user.age")
  assert right.vector_names == _NAMES
  system = _system("mix").clone(
    feature_rows=right.feature_rows, num_actions=right.num_actions
  )
  right.check_system(system)
  with pytest.raises(ValueError, match="interactions names the features"):
    layout("item.id", "user.age", "user.id").check_system(system)
  # Who does not ask for names gets any.
  plain = system.clone(interactions=Concat())
  layout("item.id", "user.age", "user.id").check_system(plain)
  with pytest.raises(ValueError, match="auxiliary_heads are of inner layers"):
    plain.clone(auxiliary_heads=True)


def test_prices_are_set_by_the_step_alone():
  system, params = _system("two"), _params("two")
  optimizer = optax.sgd(0.5)
  step = jax.jit(
    make_train_step(system, _LOSSES["two"], optimizer, jax.random.key(0))
  )
  state, metrics = step(init_state(params, optimizer), _batch())
  ffn = state.params["interactions"]["blocks_0"]["ffn"]
  active = float(metrics["parts"]["routing/active"].compute())
  up = np.sign(0.5 - (1 - active))
  assert float(ffn["routing"]["coefficient"]) == pytest.approx(1e-3 * 1.2**up)
