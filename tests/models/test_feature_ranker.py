# SPDX-License-Identifier: Apache-2.0
"""Pointwise rankers: alone as in a row, no padding, and they learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.history_pooling import SumPooling, TargetAttention
from genrec_jax.layers.interactions import (
  Concat,
  CrossNetwork,
  DotInteraction,
  FactorizationMachine,
  Wukong,
)
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.rowwise import DenseAndRowwise, RowwiseAdagrad
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables
from tests.models.compiled import apply

_B, _L, _H = 4, 16, 3
_ROWS = (5, 6, 4)
_SYSTEMS = {
  "dlrm": (SumPooling(), DotInteraction()),
  "fm": (SumPooling(), FactorizationMachine()),
  "din": (TargetAttention((8,)), Concat()),
  "dcn": (SumPooling(), CrossNetwork(2)),
  "wukong": (SumPooling(), Wukong(2, widths=(16,))),
}


@functools.cache
def _system(name="din", history_columns=(0, 2)):
  pooling, interactions = _SYSTEMS[name]
  return FeatureRanker(
    num_items=9,
    num_tasks=2,
    num_actions=2,
    feature_rows=_ROWS,
    history_columns=history_columns,
    width=4,
    pooling=pooling,
    interactions=interactions,
    tower_widths=(16,),
    embedding_init_std=0.3,
  )


def _batch(seed=0):
  """Rows of 16, 16, 16 and 10 impressions with histories of 0 to 3 events.

  Task 0: the features' first two values are equal. Task 1: an event of the
  history has the candidate's first feature and action bit 1.
  """
  rng = np.random.default_rng(seed)
  features = np.stack([rng.integers(0, r, (_B, _L)) for r in _ROWS], -1)
  where = rng.integers(0, _H + 1, (_B, _L))[..., None] > np.arange(_H)
  history = np.stack(
    [rng.integers(0, _ROWS[f], (_B, _L, _H)) for f in (0, 2)], -1
  )
  action = rng.integers(0, 4, (_B, _L, _H)) * where
  same = (history[..., 0] == features[..., None, 0]) & (action >> 1 == 1)
  label = (features[..., 0] == features[..., 1]) + 2 * same.any(-1)
  valid = np.ones((_B, _L), bool)
  valid[-1, 10:] = False
  arrays = {
    "features_BLF": features,
    "history_features_BLHG": history * where[..., None],
    "history_item_BLH": where,
    "history_action_BLH": action,
    "label_BL": label,
    "labelled_BL": valid,
    "segment_ids_BL": valid,
  }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@functools.cache
def _params(system):
  return init_params(system, _batch(), jax.random.key(0))


def _score(system, params, batch):
  return apply(system, {"params": params}, batch, method="score")


@pytest.mark.slow
@pytest.mark.parametrize("name", _SYSTEMS)
def test_an_impression_in_a_row_is_an_impression_alone(name):
  system, batch = _system(name), _batch()
  params = _params(system)
  logits = _score(system, params, batch)
  assert logits.shape == (_B, _L, 2)
  assert not logits[3, 10:].any() and (logits[3, :10] != 0).all()
  alone = {k: v[1:2, 4:5] for k, v in batch.items()}
  np.testing.assert_allclose(
    _score(system, params, alone)[0, 0], logits[1, 4], rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize("name", ["din", "dlrm"])
def test_padded_history_and_labels_change_nothing(name):
  system, batch = _system(name), _batch()
  params = _params(system)
  logits = _score(system, params, batch)
  padding = batch["history_item_BLH"] == 0
  other = batch | {
    "history_features_BLHG": jnp.where(
      padding[..., None], 3, batch["history_features_BLHG"]
    ),
    "history_action_BLH": jnp.where(padding, 3, batch["history_action_BLH"]),
    "label_BL": 3 - batch["label_BL"],
  }
  np.testing.assert_allclose(
    _score(system, params, other), logits, rtol=1e-5, atol=1e-6
  )
  real = batch | {"history_action_BLH": 3 - batch["history_action_BLH"]}
  assert (_score(system, params, real) != logits).any()


def _train(system, steps, optimizer):
  params = _params(system)
  objective = BinaryCrossEntropy(("equal", "again"))
  step = jax.jit(
    make_train_step(system, objective, optimizer, jax.random.key(0))
  )
  if isinstance(optimizer, DenseAndRowwise):
    state = init_state(params, optimizer, Tables(system.logical_axes))
  else:
    state = init_state(params, optimizer)
  for i in range(steps):
    state, metrics = step(state, _batch(i % 20))
  return state.params, metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", _SYSTEMS)
def test_it_learns_what_needs_two_features(name):
  system = _system(name)
  params, _ = _train(system, 200, adamw(2e-2))
  batch = _batch(100)
  logits = _score(system, params, batch)
  right = (logits[..., 0] > 0) == (batch["label_BL"] & 1 > 0)
  share = float(jnp.mean(right, where=batch["segment_ids_BL"] > 0))
  # Always "no" is right in 5 of 6.
  assert share > 0.94
  if name == "din":
    # Whether an event is like the candidate takes a look at both.
    right = (logits[..., 1] > 0) == (batch["label_BL"] >> 1 > 0)
    assert float(jnp.mean(right, where=batch["segment_ids_BL"] > 0)) > 0.95


def test_row_by_row_optimizers_reach_the_table():
  system = _system("dlrm")
  optimizer = DenseAndRowwise(adamw(1e-2), RowwiseAdagrad(learning_rate=1e-1))
  before = _params(system)["feature_embedding"]["embedding"]
  params, metrics = _train(system, 5, optimizer)
  after = params["feature_embedding"]["embedding"]
  assert np.isfinite(metrics["loss"])
  np.testing.assert_array_equal(after[0], before[0])
  assert (after[1:] != before[1:]).any(axis=1).all()


def test_without_a_history_there_is_none():
  system = _system("dcn", ())
  params = _params(system)
  assert "action" not in params
  batch = {k: v for k, v in _batch().items() if "history" not in k}
  assert _score(system, params, batch).shape == (_B, _L, 2)
