# SPDX-License-Identifier: Apache-2.0
"""Frozen parameters: constants of the step, with no state of their own."""

import functools
import re

from flax import linen as nn, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import hstu_movielens
from genrec_jax.core.build import build
from genrec_jax.core.sharding import MeshOptions, put
from genrec_jax.core.types import Outputs
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.frozen import Frozen, holding_still
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step

_DENSE = {
  "name": "train.adamw",
  "learning_rate": 0.01,
  "weight_decay": 0.1,
}
_ROWWISE = {
  "name": "train.DenseAndRowwise",
  "dense": _DENSE,
  "tables": {"name": "train.RowwiseAdagrad", "learning_rate": 0.1},
}


class _Towers(nn.Module):
  """Two layers and a head that is also set by the system itself."""

  num_items: int = 1
  logical_axes = {}

  @nn.compact
  def __call__(self, batch, *, deterministic):
    x = batch["x"]
    for name in ("low", "high"):
      x = jnp.tanh(nn.Dense(3, name=name)(x))
    mean = self.param("mean", nn.initializers.ones, (3,))
    return Outputs(
      query=x * mean[None, :], assign={("mean",): (jnp.array(True), mean + 1)}
    )

  def items(self, ids):
    return ids


def _square(outputs, batch, *, rng, items):
  return jnp.mean(jnp.square(outputs.query - batch["y"])), {}


def _toy_batch():
  x, y = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
  return {"x": x, "y": y, "segment_ids_BL": np.ones((5, 1), np.int32)}


@pytest.mark.slow
def test_equals_training_with_stop_gradient():
  """Three steps with clipping and decay against Optax and jax.grad alone."""
  system, batch, key = _Towers(), _toy_batch(), jax.random.key(0)
  params = init_params(system, batch, key)
  optimizer = Frozen(adamw(0.1, weight_decay=0.5, clip_norm=0.05), ("low/.*",))
  state = init_state(params, optimizer)
  step = jax.jit(make_train_step(system, _square, optimizer, key))

  def loss(params):
    held = {**params, "low": jax.lax.stop_gradient(params["low"])}
    outputs = system.apply({"params": held}, batch, deterministic=False)
    return _square(outputs, batch, rng=None, items=None)[0]

  decays = {
    "low": {"kernel": False, "bias": False},
    "high": {"kernel": True, "bias": False},
    "mean": False,
  }
  oracle = optax.chain(
    optax.clip_by_global_norm(0.05),
    optax.adamw(0.1, weight_decay=0.5, mask=decays),
  )
  expected, moments = params, oracle.init(params)
  for _ in range(3):
    state, metrics = step(state, batch)
    gradient, mean = jax.grad(loss)(expected), expected["mean"]
    updates, moments = oracle.update(gradient, moments, expected)
    expected = {**optax.apply_updates(expected, updates), "mean": mean + 1}
    np.testing.assert_allclose(
      metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-5
    )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    state.params,
    expected,
  )


def test_what_a_system_sets_itself_is_held_too():
  system, batch, key = _Towers(), _toy_batch(), jax.random.key(0)
  optimizer = Frozen(adamw(0.1), ("mean", "low/bias"))
  state = init_state(init_params(system, batch, key), optimizer)
  state, _ = make_train_step(system, _square, optimizer, key)(state, batch)
  np.testing.assert_array_equal(state.params["mean"], 1)
  np.testing.assert_array_equal(state.params["low"]["bias"], 0)
  assert np.any(state.params["low"]["kernel"])


def _batch(step):
  rng = np.random.default_rng(step)
  ids = rng.integers(1, 31, (8, 9))
  arrays = {
    "item_BL": ids[:, :-1],
    "label_BL": ids[:, 1:],
    "time_BL": np.zeros((8, 8)),
    "query_time_BL": np.zeros((8, 8)),
    "segment_ids_BL": np.ones((8, 8)),
    "positions_BL": np.arange(8)[None, :] * np.ones((8, 1)),
    "user_BL": np.ones((8, 8)),
  }
  return {k: np.asarray(v, np.int32) for k, v in arrays.items()}


def _program(optimizer, paths, mesh=None):
  c = hstu_movielens.get_config("quicktest-no_bias")
  c.system.update(width=16, row_multiple=8, num_positions=8, dropout=0.1)
  c.system.backbone.update(num_layers=1, key_width=16, value_width=16)
  c.system.backbone.num_positions = 8
  c.pipeline.row_length = c.pipeline.layout.max_length = 8
  c.objective.negatives.count = 8
  c.optimizer = {
    "name": "train.Frozen",
    "optimizer": optimizer,
    "paths": paths,
  }
  mesh = mesh or MeshOptions("rowwise_tables", {"data": 4, "model": 2})
  return Program.from_config(check_config(c), 30, mesh.place())


def _train(program, state, steps):
  with program.in_force():
    for step in steps:
      batch = put(_batch(step), program.placement.by_rows)
      state, _ = program.train_step(state, batch)
  return state


@pytest.mark.slow
@pytest.mark.parametrize(
  ("optimizer", "paths"),
  [
    (_ROWWISE, ("item_embedding/.*", ".*/bias")),
    pytest.param(_ROWWISE, ("(?!item_embedding).*",), marks=pytest.mark.slow),
    pytest.param(_DENSE, ("backbone/.*",), marks=pytest.mark.slow),
  ],
)
def test_on_eight_devices_others_train_and_a_resumed_run_is_the_same(
  optimizer, paths, tmp_path
):
  program = _program(optimizer, paths)
  with program.in_force():
    state = program.init_state()
  start = jax.device_get(state.params)
  state = _train(program, state, range(2))
  jax.tree.map(
    lambda x, s: x.sharding.is_equivalent_to(s, x.ndim) or pytest.fail(),
    state,
    program.state_shardings,
  )
  with Checkpoints(tmp_path) as checkpoints, program.in_force():
    checkpoints.save(state, data={}, progress={}, config={})
    again = checkpoints.restore(
      program.abstract_state(), program.state_shardings
    ).state
  state, again = (_train(program, s, range(2, 4)) for s in (state, again))
  jax.tree.map(np.testing.assert_array_equal, state, again)

  before = traverse_util.flatten_dict(start, sep="/")
  after = traverse_util.flatten_dict(jax.device_get(state.params), sep="/")
  frozen = {
    name for name in before if np.array_equal(before[name], after[name])
  }
  assert frozen == {n for n in before if re.fullmatch("|".join(paths), n)}
  assert frozen and frozen != set(before)
  leaves = jax.tree_util.tree_leaves_with_path(state.opt_state)
  kept = [
    jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in leaves
  ]
  for name in before:
    assert any(k.endswith(name) for k in kept) == (name not in frozen), name


@pytest.mark.parametrize(
  ("paths", "message"),
  [
    ("low/.*", "must be a list of one or more"),
    ((), "must be a list of one or more"),
    (("low/(",), r"'low/\(' is no regular expression"),
  ],
)
def test_paths_that_are_none(paths, message):
  with pytest.raises(ValueError, match=message):
    build({"name": "train.Frozen", "optimizer": _DENSE, "paths": paths})


def test_patterns_that_match_nothing_or_everything():
  params = {"low": {"kernel": jnp.ones(2)}, "mean": jnp.ones(3)}
  with pytest.raises(ValueError, match="'kernel' matches no.*low/kernel, mean"):
    init_state(params, Frozen(adamw(0.1), ("mean", "kernel")))
  with pytest.raises(ValueError, match="freezes every parameter"):
    init_state(params, Frozen(adamw(0.1), (".*",)))


def test_a_frozen_goes_around_both_optimizers():
  frozen = {"name": "train.Frozen", "optimizer": _DENSE, "paths": ("low/.*",)}
  with pytest.raises(ValueError, match="dense is a Frozen.*around the whole"):
    build({**_ROWWISE, "dense": frozen})


def test_one_frozen_is_enough():
  inner = Frozen(adamw(0.1), ("mean",))
  with pytest.raises(ValueError, match="within a Frozen"):
    Frozen(inner, ("low/.*",))


def test_what_is_data_is_held_beside_what_is_frozen():
  optimizer = adamw(0.1)
  assert holding_still(optimizer, ()) is optimizer
  held = holding_still(optimizer, ("a.b/c",))
  assert held.is_frozen(("a.b", "c")) and not held.is_frozen(("axb", "c"))
  both = holding_still(Frozen(optimizer, ("low/.*",)), ("mean",))
  assert both.optimizer is optimizer
  assert both.is_frozen(("low", "bias")) and both.is_frozen(("mean",))
