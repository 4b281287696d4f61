# SPDX-License-Identifier: Apache-2.0
"""Two towers: neither reads the other's side, and both learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.models.two_tower import TwoTower
from genrec_jax.objectives.negatives import InBatchNegatives
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.objectives.positives import Positives
from genrec_jax.objectives.softmax import SampledSoftmax
from genrec_jax.train.frozen import holding_still
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from tests.models.compiled import apply

_B, _L, _H, _ITEMS = 4, 16, 3, 12
_ROWS = (5, 6, 4)
_ITEM_COLUMNS = (0, 2)
# Features of items by id, after padding: three items share none of both.
_FEATURES = np.concatenate(
  [np.zeros((1, 2)), [[1 + i % 4, i % 3 + 1] for i in range(_ITEMS)]]
).astype(np.int32)


@functools.cache
def _system(**options):
  return TwoTower(
    num_items=_ITEMS,
    num_tasks=2,
    num_actions=2,
    feature_rows=_ROWS,
    item_columns=_ITEM_COLUMNS,
    history_columns=(0,),
    width=4,
    vector_width=6,
    tower_widths=(32,),
    embedding_init_std=0.3,
    **options,
  )


def _batch(seed=0):
  """Rows of impressions; task 0: user's and item's first values are equal."""
  rng = np.random.default_rng(seed)
  item = rng.integers(1, _ITEMS + 1, (_B, _L))
  user = rng.integers(1, 5, (_B, _L))
  own = _FEATURES[item]
  features = np.stack([own[..., 0], user, own[..., 1]], axis=-1)
  where = rng.integers(0, _H + 1, (_B, _L))[..., None] > np.arange(_H)
  history = rng.integers(0, _ROWS[0], (_B, _L, _H, 1))
  valid = np.ones((_B, _L), bool)
  valid[-1, 10:] = False
  arrays = {
    "item_BL": item,
    "features_BLF": features,
    "history_features_BLHG": history * where[..., None],
    "history_item_BLH": where,
    "history_action_BLH": rng.integers(0, 4, (_B, _L, _H)) * where,
    "label_BL": (own[..., 0] == user) + 2 * rng.integers(0, 2, (_B, _L)),
    "labelled_BL": valid,
    "segment_ids_BL": valid,
  }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@functools.cache
def _params():
  system = _system()
  params = init_params(system, _batch(), jax.random.key(0))
  return system.data_init(params, _FEATURES, jax.random.key(0))


def _run(method, *args, system=None, params=None, **options):
  variables = {"params": _params() if params is None else params}
  return apply(system or _system(), variables, *args, method=method, **options)


@pytest.mark.slow
def test_logits_are_dots_of_what_retrieval_searches():
  batch = _batch()
  weights = (0.5, 2.0)
  params = {**_params(), "task_bias": jnp.array([0.3, -1.0])}
  logits = _run("score", batch, params=params)
  items = _run("items", None)
  np.testing.assert_allclose(
    items[batch["item_BL"]],
    _run("items", batch["item_BL"]),
    rtol=1e-5,
    atol=1e-6,
  )
  one = {k: v[1:2, 4:5] for k, v in batch.items()}
  # No item is known when a query is made.
  one["features_BLF"] = one["features_BLF"].at[..., jnp.array([0, 2])].set(0)
  query = _run("query", one, system=_system(query_weights=weights))
  assert query.shape == (1, 6)
  dot = query[0] @ items[batch["item_BL"][1, 4]]
  expected = (logits[1, 4] - params["task_bias"]) @ jnp.array(weights)
  np.testing.assert_allclose(dot, expected, rtol=1e-4, atol=1e-5)
  assert not logits[3, 10:].any() and (logits[3, :10] != 0).all()


def test_padded_history_labels_and_neighbours_change_nothing():
  batch = _batch()
  logits = _run("score", batch)
  padding = batch["history_item_BLH"] == 0
  other = batch | {
    "history_features_BLHG": jnp.where(
      padding[..., None], 3, batch["history_features_BLHG"]
    ),
    "label_BL": 3 - batch["label_BL"],
  }
  np.testing.assert_allclose(_run("score", other), logits, rtol=1e-5)
  moved = {k: jnp.roll(v, 3, axis=1) for k, v in batch.items()}
  np.testing.assert_allclose(
    _run("score", moved)[:3], jnp.roll(logits, 3, axis=1)[:3], rtol=1e-4,
    atol=1e-6,
  )  # fmt: skip
  real = batch | {"history_action_BLH": 3 - batch["history_action_BLH"]}
  assert (_run("score", real) != logits).any()


def _train(objective, steps):
  system = _system()
  optimizer = adamw(2e-2, weight_decay=0.1)
  optimizer = holding_still(optimizer, system.constants)
  step = jax.jit(
    make_train_step(system, objective, optimizer, jax.random.key(0))
  )
  state = init_state(_params(), optimizer)
  for i in range(steps):
    state, metrics = step(state, _batch(i % 20))
  return state.params, metrics


def _share_right(params):
  """How often the best item has the user's value."""
  batch = _batch(100)
  query = _run("__call__", batch, params=params, deterministic=True).query
  best = jnp.argmax(query @ _run("items", None, params=params)[1:].T, axis=-1)
  right = _FEATURES[1 + np.asarray(best), 0] == batch["features_BLF"][..., 1]
  return float(jnp.mean(right, where=batch["segment_ids_BL"] > 0))


@pytest.mark.slow
def test_both_losses_find_the_items_of_a_user():
  tasks = ("equal", "random")
  softmax = Positives(
    tasks,
    ("equal",),
    SampledSoftmax(InBatchNegatives(32), 1.0, correct_log_q=True),
  )
  params, _ = _train(softmax, 100)
  assert _share_right(params) > 0.95
  # What items are is never trained, nor does it decay.
  np.testing.assert_array_equal(params["item_features"], _FEATURES)
  params, _ = _train(BinaryCrossEntropy(tasks), 250)
  logits = _run("score", _batch(100), params=params)[..., 0]
  right = (logits > 0) == (_batch(100)["label_BL"] & 1 > 0)
  # Always "no" is right in 3 of 4.
  assert float(jnp.mean(right[:3])) > 0.93


@pytest.mark.slow
def test_a_batch_without_a_positive_has_no_loss():
  objective = Positives(("a", "b"), ("a",), SampledSoftmax(InBatchNegatives(8)))
  items = Items(_ITEMS, lambda ids: jnp.ones((*ids.shape, 6)))
  outputs = Outputs(query=jnp.ones((_B, _L, 6)))
  for label, known, where in ((2, 1, 0), (3, 0, 0), (3, 1, 1)):
    batch = _batch() | {
      "label_BL": jnp.full((_B, _L), label),
      "labelled_BL": jnp.full((_B, _L), known),
    }
    loss, _ = objective(outputs, batch, rng=jax.random.key(0), items=items)
    assert (loss > 0) == bool(where)


def test_bad_input():
  with pytest.raises(ValueError, match="are 1 for 2 tasks"):
    _system(query_weights=(1.0,))
  with pytest.raises(ValueError, match="needs features of items"):
    TwoTower(1, 1, 1, (3,), (), (), 4)
  with pytest.raises(ValueError, match=r"are \(5, 2\), and the system"):
    _system().data_init(_params(), _FEATURES[:5], jax.random.key(0))
  with pytest.raises(ValueError, match="below 16,777,216"):
    _system().data_init(_params(), _FEATURES + 2**24, jax.random.key(0))
  with pytest.raises(ValueError, match=r"taken=\('c',\): name at least one"):
    Positives(("a", "b"), ("c",), SampledSoftmax(InBatchNegatives(8)))
