# SPDX-License-Identifier: Apache-2.0
"""The layer: a loop over tokens, what its router sets, padding, options."""

import dataclasses
import functools

from flax import linen as nn, traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.core.types import Outputs
from genrec_jax.layers.moe import LOGICAL_AXES, MixtureOfExperts
from genrec_jax.layers.routers import ReluRouter, TopKRouter
from genrec_jax.objectives.routing import RoutingLoss
from genrec_jax.train.state import init_state
from genrec_jax.train.step import make_train_step

_B, _L, _D, _F, _E = 2, 7, 4, 5, 6
_rng = np.random.default_rng(0)
_X = jnp.asarray(_rng.normal(size=(_B, _L, _D)), jnp.float32)
_GRAD = jnp.asarray(_rng.normal(size=(_B, _L, _D)), jnp.float32)
_REAL = jnp.ones((_B, _L), bool).at[1, 5:].set(False)
_TOP = TopKRouter(2, normalized=True, scale=1.5, balance_rate=0.25)
_RELU = ReluRouter(sparsity=0.7, first_coefficient=0.5)
_LAYERS = {
  "top": MixtureOfExperts(
    _TOP, _E, _F, shared_experts=2, implementation="blocks"
  ),
  "relu": MixtureOfExperts(_RELU, _E, _F, gated=False, activation="relu"),
}


@functools.cache
def _params(name):
  init = jax.jit(functools.partial(_LAYERS[name].init, train=False))
  params = init(jax.random.key(0), _X, _REAL)["params"]
  if name == "top":
    params["routing"]["balance"] = jnp.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
  return params


@functools.lru_cache
def _jitted(name, train):
  return jax.jit(
    lambda params, x, where: _LAYERS[name].apply(
      {"params": params}, x, where, train=train
    )
  )


def _silu(z):
  return z / (1 + np.exp(-z))


def _loop(name, params, x):
  """Output and losses in float64, token by token."""
  p = jax.tree.map(np.float64, params)
  experts, x, real = p["experts"], np.float64(x), np.asarray(_REAL)
  y, gate_sums, gates = np.zeros_like(x), np.zeros(x.shape[:2]), {}
  for b, t in np.ndindex(_B, _L):
    logits = x[b, t] @ p["routing"]["logits"]["kernel"]
    if name == "top":
      scores = np.exp(logits) / np.exp(logits).sum()
      ranked = scores + p["routing"]["balance"]
      chosen = np.argsort(-ranked)[:2]
      gates[b, t] = {e: 1.5 * scores[e] / scores[chosen].sum() for e in chosen}
    else:
      gates[b, t] = {e: g for e, g in enumerate(logits) if g > 0}
    if not real[b, t]:
      gates[b, t] = {}
    for e, gate in gates[b, t].items():
      inner = x[b, t] @ experts["in"][e]
      if name == "top":
        inner = _silu(inner) * (x[b, t] @ experts["linear"][e])
      y[b, t] += (
        gate
        * np.maximum(inner, 0 if name == "relu" else -np.inf)
        @ (experts["out"][e])
      )
    gate_sums[b, t] = sum(gates[b, t].values())
  if name == "top":
    inner = _silu(x @ p["shared_in"]["kernel"])
    inner *= x @ p["shared_linear"]["kernel"]
    y += inner @ p["shared_out"]["kernel"]
  load = np.array([sum(e in g for g in gates.values()) for e in range(_E)])
  return y, load, gate_sums


@pytest.mark.parametrize("name", _LAYERS)
def test_the_layer_is_a_loop_over_tokens_and_so_are_its_gradients(name):
  params = _params(name)
  y, routed = _jitted(name, True)(params, _X, _REAL)
  expected, load, _ = _loop(name, params, _X)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(routed.load, load)
  found = jax.jit(
    jax.grad(
      lambda params, x: jnp.sum(
        _jitted(name, False)(params, x, _REAL)[0] * _GRAD
      ),
      argnums=(0, 1),
    )
  )(params, _X)
  kernel = np.float64(params["routing"]["logits"]["kernel"])
  # By central differences of the loop: of the router and of the tokens.
  for index in np.ndindex(_D, _E):
    ends = []
    for by in (1e-6, -1e-6):
      moved = kernel.copy()
      moved[index] += by
      router = {**params["routing"], "logits": {"kernel": moved}}
      ends.append(_loop(name, {**params, "routing": router}, _X)[0])
    slope = np.sum((ends[0] - ends[1]) * np.asarray(_GRAD)) / 2e-6
    got = found[0]["routing"]["logits"]["kernel"][index]
    assert float(got) == pytest.approx(slope, rel=1e-3, abs=1e-4), index
  for index in ((0, 3, 1), (1, 0, 2), (1, 6, 0)):
    ends = []
    for by in (1e-6, -1e-6):
      moved = np.float64(_X)
      moved[index] += by
      ends.append(_loop(name, params, moved)[0])
    slope = np.sum((ends[0] - ends[1]) * np.asarray(_GRAD)) / 2e-6
    assert float(found[1][index]) == pytest.approx(slope, rel=1e-3, abs=1e-4)
  # What is set is trained by nothing.
  name_ = "balance" if name == "top" else "coefficient"
  assert not np.any(found[0]["routing"][name_])


def test_what_a_router_sets_follows_the_load_and_only_in_training():
  params = _params("top")
  load = _loop("top", params, _X)[1]
  _, routed = _jitted("top", True)(params, _X, _REAL)
  ((path, (mask, value)),) = routed.assign.items()
  assert path == ("routing", "balance")
  assert mask.all()
  moved = np.asarray(params["routing"]["balance"])
  moved = moved + 0.25 * np.sign(load.mean() - load)
  np.testing.assert_allclose(value, moved)
  params = _params("relu")
  load = _loop("relu", params, _X)[1]
  _, routed = _jitted("relu", True)(params, _X, _REAL)
  ((_, (_, price)),) = routed.assign.items()
  sparse = 1 - load.sum() / (12 * _E)
  assert float(price) == pytest.approx(0.5 * 1.2 ** np.sign(0.7 - sparse))
  for name in _LAYERS:
    assert not _jitted(name, False)(_params(name), _X, _REAL)[1].assign


@pytest.mark.parametrize("name", _LAYERS)
def test_padding_takes_no_expert_and_says_nothing(name):
  wild = jnp.where(_REAL[:, :, None], _X, 50.0)
  (y, a), (y_wild, b) = (
    _jitted(name, True)(_params(name), x, _REAL) for x in (_X, wild)
  )
  np.testing.assert_array_equal(y[_REAL], y_wild[_REAL])
  np.testing.assert_array_equal(a.load, b.load)
  for x, z in zip(*map(jax.tree.leaves, (a.assign, b.assign)), strict=True):
    np.testing.assert_array_equal(x, z)
  where = np.asarray(_REAL).ravel()
  for loss in a.losses:
    np.testing.assert_array_equal(a.losses[loss][where], b.losses[loss][where])
  if name == "relu":
    assert not y_wild[~_REAL].any()
  assert not a.active[~where].any()


def test_the_price_is_in_the_penalty_and_takes_no_gradient():
  params = _params("relu")
  _, load, sums = _loop("relu", params, _X)
  layer = _LAYERS["relu"].clone(
    router=dataclasses.replace(_RELU, by_load=False)
  )

  def penalty(params):
    _, routed = layer.apply({"params": params}, _X, _REAL, train=False)
    return jnp.sum(routed.losses["penalty"]), routed.losses["penalty"]

  gradient, found = jax.jit(jax.grad(penalty, has_aux=True))(params)
  np.testing.assert_allclose(found, 0.5 * sums.ravel(), rtol=1e-5)
  assert float(gradient["routing"]["coefficient"]) == 0
  assert gradient["routing"]["logits"]["kernel"].any()


class _System(nn.Module):
  """A model that is nothing but two mixtures."""

  mixture: nn.Module
  num_items: int = 3
  logical_axes = LOGICAL_AXES

  def setup(self):
    self.moe = [self.mixture.clone() for _ in range(2)]

  def __call__(self, batch, *, deterministic):
    y, all_routed, assign = batch["x"], [], {}
    where, train = batch["segment_ids_BL"] > 0, not deterministic
    for number, moe in enumerate(self.moe):
      y, routed = moe(y, where, train=train)
      all_routed.append(routed)
      name = f"moe_{number}"
      assign |= {(name, *p): pair for p, pair in routed.assign.items()}
    return Outputs(hidden=y, aux={"routed": tuple(all_routed)}, assign=assign)

  def items(self, ids=None):
    raise NotImplementedError


@pytest.mark.slow
def test_in_the_train_step_a_bias_moves_by_its_rate_alone():
  system = _System(_LAYERS["top"])
  batch = {"x": _X, "segment_ids_BL": _REAL.astype(jnp.int32)}
  init = jax.jit(functools.partial(system.init, deterministic=True))
  params = init(jax.random.key(0), batch)["params"]
  assert set(params) == {"moe_0", "moe_1"}
  assert all("routing" in part for part in params.values())
  optimizer = optax.adamw(0.1, weight_decay=0.5)
  state = init_state(params, optimizer)
  step = make_train_step(
    system, RoutingLoss(balance_weight=0.01), optimizer, jax.random.key(1)
  )
  state, metrics = jax.jit(step)(state, batch)
  before, after = (
    traverse_util.flatten_dict(p, sep="/") for p in (params, state.params)
  )
  apply = jax.jit(functools.partial(system.apply, deterministic=True))
  aux = apply({"params": params}, batch).aux
  peaks = []
  for number, routed in enumerate(aux["routed"]):
    load = np.asarray(routed.load)
    assert load.sum() == 24
    path = f"moe_{number}/routing"
    np.testing.assert_array_equal(
      after[f"{path}/balance"], 0.25 * np.sign(load.mean() - load)
    )
    moved = after[f"{path}/logits/kernel"] - before[f"{path}/logits/kernel"]
    assert np.abs(moved).min() > 0
    peaks.append(load.max() / load.mean())
  peak = metrics["parts"]["load_peak"].compute()
  assert float(peak) == pytest.approx(np.mean(peaks))


@pytest.mark.parametrize(
  ("make", "words"),
  [
    (lambda: MixtureOfExperts(_TOP, 1, 4), "take 2 of 1 experts"),
    (lambda: MixtureOfExperts(_RELU, 0, 4), "num_experts=0"),
    (lambda: TopKRouter(0), "experts_per_token=0 must be at least 1"),
    (lambda: TopKRouter(2, balance_rate=-1.0), "balance_rate=-1.0"),
    (lambda: TopKRouter(2, scale=0.0), "scale=0.0 must be above 0"),
    (lambda: ReluRouter(sparsity=1.0), "sparsity=1.0 must lie between 0"),
    (lambda: ReluRouter(factor=1.0), "factor=1.0 must lie between 1"),
    (lambda: ReluRouter(first_coefficient=0.0), "first_coefficient=0.0"),
    (lambda: MixtureOfExperts(_TOP, 4, 0), "hidden_width=0"),
    (
      lambda: MixtureOfExperts(_TOP, 4, 4, shared_experts=-1),
      "shared_experts=-1",
    ),
  ],
)
def test_options_that_cannot_be(make, words):
  with pytest.raises(ValueError, match=words):
    make()
