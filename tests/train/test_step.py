# SPDX-License-Identifier: Apache-2.0
"""The step: learns, depends on the step's stream, and shards unchanged."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import hstu_movielens
from genrec_jax.core import sharding
from genrec_jax.core.build import build
from genrec_jax.core.types import Outputs
from genrec_jax.layers.action_heads import TaskMlp
from genrec_jax.layers.slot_experts import SlotLogits
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.train.optimizers import Cosine, adamw, decays
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import _assigned, make_train_step

_V, _LENGTH = 40, 32


def _batch(rows=16):
  rng = np.random.default_rng(0)
  first = rng.integers(0, _V, (rows, 1))
  ids = (first + np.arange(_LENGTH + 1)[None, :]) % _V + 1
  times = np.broadcast_to(np.arange(_LENGTH + 1) * 100, ids.shape)
  arrays = {
    "item_BL": ids[:, :-1],
    "label_BL": ids[:, 1:],
    "time_BL": times[:, :-1],
    "query_time_BL": times[:, 1:],
    "segment_ids_BL": np.ones((rows, _LENGTH)),
    "positions_BL": np.broadcast_to(np.arange(_LENGTH), (rows, _LENGTH)),
    "user_BL": np.zeros((rows, _LENGTH)),
  }
  return {k: np.asarray(v, np.int32) for k, v in arrays.items()}


def _parts(dropout=0.2):
  c = hstu_movielens.get_config("quicktest")
  c.system.dropout = c.system.backbone.dropout = dropout
  system = build(c.system, num_items=_V)
  objective = build(c.objective)
  optimizer = adamw(3e-3, clip_norm=1.0, weight_decay=0.01)
  key = jax.random.key(0)
  state = init_state(init_params(system, _batch(), key), optimizer)
  return state, make_train_step(system, objective, optimizer, key)


@pytest.mark.slow
def test_a_step_learns():
  state, step = _parts()
  step = jax.jit(step)
  losses = []
  for _ in range(30):
    state, metrics = step(state, _batch())
    losses.append(float(metrics["loss"]))
  assert int(state.step) == 30
  assert np.mean(losses[-3:]) < 0.7 * losses[0]


@pytest.mark.slow
def test_randomness_is_a_function_of_the_step():
  state, step = _parts()
  step = jax.jit(step)
  losses = {float(step(state, _batch())[1]["loss"]) for _ in range(2)}
  assert len(losses) == 1
  later = jax.tree.map(lambda x: x, state)
  object.__setattr__(later, "step", state.step + 1)
  assert float(step(later, _batch())[1]["loss"]) not in losses


@pytest.mark.slow
def test_sharded_equals_unsharded():
  assert jax.device_count() == 8
  results = []
  for devices in (jax.devices()[:1], jax.devices()):
    placement = sharding.MeshOptions().place(devices)
    state, step = _parts()
    step = jax.jit(step)
    state = jax.device_put(state, placement.replicated)
    batch = sharding.put(_batch(), placement.by_rows)
    for _ in range(3):
      state, metrics = step(state, batch)
    results.append(jax.device_get((state.params, metrics["loss"])))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *results
  )


def test_a_batch_that_devices_cannot_share_is_an_error():
  placement = sharding.MeshOptions().place()
  with pytest.raises(ValueError, match="batch_size=12 is not .* 8 devices.*8"):
    placement.check_batch_size(12, "batch_size")


def test_decay_spares_embeddings_and_vectors():
  params = {
    "item_embedding": {"embedding": jnp.ones((3, 2))},
    "dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
  }
  optimizer = adamw(0.1, weight_decay=0.5)
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  np.testing.assert_allclose(updates["dense"]["kernel"], -0.05)
  assert not np.any(updates["dense"]["bias"])
  assert not np.any(updates["item_embedding"]["embedding"])


def _paths(tree, keep):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {"/".join(k.key for k in p) for p, one in leaves if keep(p, one)}


def _wide(path, array):
  """What decayed before: no vectors, and no tables."""
  return array.ndim > 1 and path[-1].key != "embedding"


def _decayed(params):
  return _paths(decays(params), lambda _, decayed: decayed)


@pytest.mark.parametrize(
  ("module", "inputs", "spared"),
  [
    (SlotFeedForward(8, gated=True), (), {"slot_in_bias", "slot_out_bias"}),
    (SlotLogits(5), (), {"logits_bias"}),
    (TaskMlp(3, hidden_width=8), (True,), {"towers/hidden_bias"}),
  ],
)
def test_decay_spares_biases_of_every_slot_or_task(module, inputs, spared):
  x_BSD = jnp.zeros((2, 3, 4))
  params = jax.eval_shape(
    lambda key: module.init(key, x_BSD, *inputs)["params"], jax.random.key(0)
  )
  assert _paths(params, _wide) - _decayed(params) == spared


def test_other_parameters_decay_as_they_did():
  matrix, vector = (jax.ShapeDtypeStruct((3,) * n, jnp.float32) for n in (2, 1))
  names = ("kernel", "in", "out", "slot_in", "project", "summary", "rows")
  names += ("logits", "position", "time", "users", "scales", "biased")
  params = dict.fromkeys((*names, "embedding"), matrix)
  params |= {"dense": {"kernel": matrix, "bias": vector, "scale": vector}}
  assert _decayed(params) == _paths(params, _wide) == {*names, "dense/kernel"}
  # Of more than one dimension they are spared now.
  own = dict.fromkeys(("bias", "final_scale", "hidden_bias", "w"), matrix)
  assert _decayed(own) == {"w"}


def test_warm_up_and_schedule():
  optimizer = adamw(1.0, warmup_steps=4, schedule=Cosine(steps=10))
  params = {"w": jnp.ones((1, 1))}
  state = optimizer.init(params)
  sizes = []
  for _ in range(14):
    updates, state = optimizer.update(params, state, params)
    sizes.append(-float(updates["w"][0, 0]))
  # Adam's first steps on a constant gradient have size = learning rate.
  np.testing.assert_allclose(sizes[:5], [0, 0.25, 0.5, 0.75, 1], atol=1e-3)
  assert sizes[-1] < 0.05
  assert isinstance(optimizer, optax.GradientTransformation)


def test_what_a_system_sets_itself_is_put_after_the_update():
  class Averaging(nn.Module):
    num_items: int = 1
    logical_axes = {}

    @nn.compact
    def __call__(self, batch, *, deterministic):
      weight = self.param("weight", nn.initializers.ones, (3,))
      assign = {("weight",): (jnp.array([False, True, False]), 7 * weight)}
      return Outputs(query=jnp.sum(weight), assign=assign)

    def items(self, ids):
      return ids

  def objective(outputs, batch, *, rng, items):
    return outputs.query, {}

  system, batch = Averaging(), {"segment_ids_BL": jnp.ones((1, 1), jnp.int32)}
  optimizer, key = optax.sgd(0.5), jax.random.key(0)
  state = init_state(init_params(system, batch, key), optimizer)
  state, _ = jax.jit(make_train_step(system, objective, optimizer, key))(
    state, batch
  )
  np.testing.assert_allclose(state.params["weight"], [0.5, 7, 0.5])


def test_a_system_that_sets_no_parameter_is_an_error():
  with pytest.raises(ValueError, match="sets a/b, which is no parameter"):
    _assigned({"a": {"c": 1}}, {("a", "b"): (True, 1)})
