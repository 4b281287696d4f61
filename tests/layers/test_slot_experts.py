# SPDX-License-Identifier: Apache-2.0
"""Slots with experts: a loop over pairs, one price for all, two routers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.layers.routers import ReluRouter, TopKRouter
from genrec_jax.layers.slot_experts import SlotExperts, TwoRouterSlotExperts

_B, _L, _S, _D, _F, _E = 2, 4, 3, 4, 5, 4
_rng = np.random.default_rng(0)
_X = jnp.asarray(_rng.normal(size=(_B, _L, _S, _D)), jnp.float32)
_REAL = jnp.ones((_B, _L, _S), bool).at[1, 2:].set(False)
_RELU = ReluRouter(sparsity=0.7, first_coefficient=0.5, least=0.01)
_LAYERS = {
  "top": SlotExperts(
    TopKRouter(2, normalized=True, scale=2.0, balance_rate=0.25),
    _E,
    _F,
    shared_width=6,
    implementation="blocks",
  ),
  "relu": SlotExperts(_RELU, _E, _F, gated=False, activation="relu"),
  "all": SlotExperts(TopKRouter(_E), _E, _F),
  "two": TwoRouterSlotExperts(_RELU, _E, _F, gated=False, activation="relu"),
  "soft": TwoRouterSlotExperts(_RELU, _E, _F, dense_gate="softmax"),
}


def _both(layer, x, where, deterministic):
  """The serving router's pass, and where there is another's, also that."""
  found = layer.routed(x, where, deterministic)
  return found, layer.dense(x) if "dense_gate" in vars(layer) else None


@functools.cache
def _params(name):
  layer = _LAYERS[name]
  shapes = jax.eval_shape(
    lambda: layer.init(jax.random.key(0), _X, _REAL, True, method=_both)
  )
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda s: jnp.asarray(0.7 * rng.normal(size=s.shape), s.dtype), shapes
  )["params"]
  if "coefficient" in params["routing"]:
    params["routing"]["coefficient"] = jnp.float32(0.5)
  return params


@functools.lru_cache
def _jitted(name, train):
  return jax.jit(
    lambda params, x, where: _LAYERS[name].apply(
      {"params": params}, x, where, not train, method=_both
    )
  )


def _silu(z):
  return z / (1 + np.exp(-z))


def _ffn(p, prefix, e, x):
  return _silu(x @ p[f"{prefix}in"][e]) * (x @ p[f"{prefix}linear"][e])


def _gates(name, p, x, s):
  """{expert: gate} of one slot."""
  scores = p["routing"]["scores"]
  logits = x @ scores["logits"][s] + scores["logits_bias"][s]
  if name == "relu":
    gates = {e: g for e, g in enumerate(logits) if g > 0}
    best = int(np.argmax(logits))
    if logits[best] < 0.01:
      gates[best] = 0.01**2 / (0.02 - logits[best])
    return gates
  p_E = np.exp(logits) / np.exp(logits).sum()
  if name == "all":
    return dict(enumerate(p_E))
  best = np.argsort(-(p_E + p["routing"]["balance"][s]))[:2]
  return {e: 2.0 * p_E[e] / p_E[best].sum() for e in best}


def _loop(name, params, x):
  p = jax.tree.map(np.float64, params)
  x, y = np.float64(x), np.zeros(x.shape)
  load = np.zeros((_S, _E))
  for b, t, s in np.ndindex(_B, _L, _S):
    z = x[b, t, s]
    for e, gate in _gates(name, p, z, s).items() if _REAL[b, t, s] else ():
      load[s, e] += 1
      if name == "relu":
        h = np.maximum(z @ p["experts"]["in"][s * _E + e], 0)
      else:
        h = _ffn(p["experts"], "", s * _E + e, z)
      y[b, t, s] += gate * (h @ p["experts"]["out"][s * _E + e])
    if name == "top":
      h = _ffn(p["shared"], "slot_", s, z)
      y[b, t, s] += h @ p["shared"]["slot_out"][s]
  return y, load


@pytest.mark.parametrize("name", ["top", "relu", "all"])
def test_every_slot_has_experts_of_its_own_and_takes_what_its_router_says(name):
  params = _params(name)
  (y, routed), _ = _jitted(name, True)(params, _X, _REAL)
  expected, load = _loop(name, params, _X)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_array_equal(routed.load, load.ravel())
  np.testing.assert_array_equal(routed.where, _REAL.ravel())
  real = np.asarray(_REAL).ravel()
  gates = np.asarray(routed.choice.gates)
  assert not gates[~real].any()
  if name == "top":
    np.testing.assert_allclose(gates[real].sum(axis=1), 2.0, rtol=1e-5)
    ((path, (_, moved)),) = routed.assign.items()
    assert path == ("routing", "balance")
    up = np.sign(load.mean(axis=1, keepdims=True) - load)
    np.testing.assert_allclose(
      moved, params["routing"]["balance"] + 0.25 * up, atol=1e-6
    )
  if name == "relu":
    # One price, by the load of all slots.
    ((path, (_, price)),) = routed.assign.items()
    assert path == ("routing", "coefficient")
    sparse = 1 - load.sum() / (real.sum() * _E)
    assert float(price) == pytest.approx(0.5 * 1.2 ** np.sign(0.7 - sparse))
    assert (gates[real].max(axis=1) > 0).all(), "no slot is left without any"
  assert not _jitted(name, False)(params, _X, _REAL)[0][1].assign


def test_losses_are_those_of_each_slot():
  (_, routed), _ = _jitted("relu", True)(_params("relu"), _X, _REAL)
  _, load = _loop("relu", _params("relu"), _X)
  gates = np.asarray(routed.choice.gates).reshape(-1, _S, _E)
  rows = np.asarray(_REAL)[..., 0].sum()
  expected = 0.5 * (gates * load / (rows * 0.3)).sum(axis=2)
  np.testing.assert_allclose(
    routed.losses["penalty"], expected.ravel(), rtol=1e-4
  )
  (_, routed), _ = _jitted("all", True)(_params("all"), _X, _REAL)
  # Everybody takes everything: an even load costs 1.
  np.testing.assert_allclose(
    routed.losses["balance"][np.asarray(_REAL).ravel()], 1.0, rtol=1e-5
  )


def test_padding_changes_nothing_and_an_idle_expert_learns_nothing():
  params = _params("top")
  # The last expert of slot 1 is taken by nobody.
  balance = jnp.zeros((_S, _E)).at[1, -1].set(-9.0)
  params = {**params, "routing": {**params["routing"], "balance": balance}}
  wild = jnp.where(_REAL[..., None], _X, 50.0)

  def total(params, x):
    (y, routed), _ = _jitted("top", True)(params, x, _REAL)
    return jnp.sum(jnp.where(_REAL[..., None], jnp.sin(y), 0)), (y, routed)

  step = jax.jit(jax.grad(total, has_aux=True))
  grad, (y, routed) = step(params, _X)
  _, (other, again) = step(params, wild)
  np.testing.assert_array_equal(y[_REAL], other[_REAL])
  np.testing.assert_array_equal(routed.load, again.load)
  of_experts = np.abs(grad["experts"]["in"]).sum(axis=(1, 2))
  assert of_experts[2 * _E - 1] == 0 and (of_experts > 0).sum() > _S * 2
  assert not np.any(grad["routing"]["balance"])
  assert np.any(grad["routing"]["scores"]["logits"])


@pytest.mark.slow
def test_gates_come_to_the_wanted_sparsity():
  """Regression to a product of what a slot has; a price for open gates."""
  layer = SlotExperts(
    ReluRouter(sparsity=0.75, first_coefficient=1e-4), 8, 6, gated=False
  )
  x = jax.random.normal(jax.random.key(0), (64, _S, _D))
  target = jnp.stack([x[..., 0] * x[..., 1]] * _D, axis=-1)
  where = jnp.ones((64, _S), bool)
  params = layer.init(jax.random.key(1), x, True)["params"]
  optimizer = optax.adam(1e-2)

  def loss(params):
    y, routed = layer.apply(
      {"params": params}, x, where, False, method="routed"
    )
    penalty = jnp.mean(routed.losses["penalty"])
    error = jnp.mean(jnp.square(y - target))
    return error + penalty, (error, jnp.mean(routed.active), routed.assign)

  def step(carry, _):
    params, state = carry
    grad, (error, active, assign) = jax.grad(loss, has_aux=True)(params)
    update, state = optimizer.update(grad, state)
    params = optax.apply_updates(params, update)
    (price,) = (value for _, value in assign.values())
    params["routing"]["coefficient"] = price
    return (params, state), (error, active)

  run = jax.jit(
    lambda p: jax.lax.scan(step, (p, optimizer.init(p)), length=700)[1]
  )
  error, active = run(params)
  assert 0.4 < float(active[0]) < 0.6, "about half are open at the start"
  assert float(jnp.mean(active[-100:])) == pytest.approx(0.25, rel=0.2)
  assert float(error[-1]) < 0.5 * float(error[0])


@pytest.mark.parametrize("name", ["two", "soft"])
def test_the_router_of_training_sends_to_all_and_serves_nobody(name):
  params = _params(name)
  (y, _), dense = _jitted(name, True)(params, _X, _REAL)
  scores = jax.tree.map(np.float64, params["dense_routing"])
  p = jax.tree.map(np.float64, params["experts"])
  for b, t, s in np.ndindex(_B, _L, _S):
    z = np.float64(_X[b, t, s])
    logits = z @ scores["logits"][s] + scores["logits_bias"][s]
    gates = np.maximum(logits, 0)
    if name == "soft":
      gates = np.exp(logits) / np.exp(logits).sum()
    expected = 0
    for e in range(_E):
      inner = np.maximum(z @ p["in"][s * _E + e], 0)
      if name == "soft":
        inner = _ffn(p, "", s * _E + e, z)
      expected = expected + gates[e] * (inner @ p["out"][s * _E + e])
    np.testing.assert_allclose(dense[b, t, s], expected, rtol=1e-3, atol=1e-3)
  moved = {**params, "dense_routing": jax.tree.map(jnp.zeros_like, scores)}
  moved = jax.tree.map(jnp.float32, moved)
  (served, _), _ = _jitted(name, True)(moved, _X, _REAL)
  np.testing.assert_array_equal(served, y)


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: SlotExperts(TopKRouter(3), 2, 4), "take 3 of 2 experts"),
    (lambda: SlotExperts(_RELU, 0, 4), "num_experts=0"),
    (lambda: SlotExperts(_RELU, 4, 4, shared_width=-1), "shared_width=-1"),
    (lambda: SlotExperts(_RELU, 4, 4, out_scale=0.0), "out_scale=0.0"),
    (
      lambda: TwoRouterSlotExperts(_RELU, 4, 4, dense_gate="sofmax"),
      "'sofmax' is unknown.*'softmax'",
    ),
    (lambda: ReluRouter(least=-1.0), "least=-1.0"),
  ],
)
def test_options_that_cannot_be(make, words):
  with pytest.raises(ValueError, match=words):
    make()
