# SPDX-License-Identifier: Apache-2.0
"""Stacks that mix tokens: their equations, who sees whom, what they cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.hlo.mfu import compiled_cost
from genrec_jax.layers.feature_tokens import FeatureGroups, SlicedTokens
from genrec_jax.layers.interactions import Concat
from genrec_jax.layers.mixing_blocks import (
  HeadMixing,
  MixBlock,
  MixRevertBlock,
  SlotAttention,
)
from genrec_jax.layers.mixing_stack import MixingStack, meet
from genrec_jax.layers.routers import ReluRouter, TopKRouter
from genrec_jax.layers.slot_experts import SlotExperts, TwoRouterSlotExperts
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.ops.mixing_sizes import MixingSizes

_T, _D, _F, _H = 4, 8, 6, 2
_FFN = SlotFeedForward(_F, activation="relu")
_GATED = SlotFeedForward(_F, gated=True, bias=False, activation="silu")
_BLOCKS = {
  "mix": MixBlock(_FFN),
  "revert": MixRevertBlock(_GATED, heads=_H),
  "plain": MixBlock(_FFN, mixer=None),
  "attention": MixBlock(_FFN, mixer=SlotAttention(2)),
  "bare": MixBlock(_FFN, residual=False),
  "bare_revert": MixRevertBlock(_GATED, heads=_H, residual=False),
}
_rng = np.random.default_rng(0)
_X = jnp.asarray(_rng.normal(size=(2, 3, _T, _D)), jnp.float32)
_REAL = jnp.ones((2, 3), bool)


@functools.cache
def _params(module):
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), _X, _REAL, True)
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.5, s.dtype), shapes
  )


@functools.cache
def _run(name):
  block = _BLOCKS[name]

  def run(params, x):
    return block.apply(params, x, jnp.ones(x.shape[:-2], bool), True)[0]

  return jax.jit(run)


def _mix(x, heads):
  tokens, width = x.shape
  part = width // heads
  return np.stack(
    [
      np.concatenate([x[t, h * part : (h + 1) * part] for t in range(tokens)])
      for h in range(heads)
    ]
  )


def _layer_norm(x, p):
  x = x - x.mean(axis=1, keepdims=True)
  x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["bias"]


def _rms_norm(x, p):
  return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * p["scale"]


def _ffn(x, p):
  y = []
  for s, z in enumerate(x):
    h = z @ p["slot_in"][s]
    if "slot_linear" in p:
      h = h / (1 + np.exp(-h)) * (z @ p["slot_linear"][s])
      y.append(h @ p["slot_out"][s])
    else:
      h = np.maximum(h + p["slot_in_bias"][s], 0)
      y.append(h @ p["slot_out"][s] + p["slot_out_bias"][s])
  return np.stack(y)


def _by_hand(name, p, x):
  if "revert" in name:
    h = _mix(x, _H)
    h = h + _ffn(_rms_norm(h, p["mixed_norm"]), p["of_mixed"])
    r = _mix(h, _T)
    y = _ffn(_rms_norm(r, p["norm"]), p["of_tokens"])
    return y if name.startswith("bare") else x + y
  keep = 0.0 if name == "bare" else 1.0
  s = x
  if name != "plain":
    s = _layer_norm(_mix(x, _T) + keep * x, p["mixed_norm"])
  return _layer_norm(_ffn(s, p["ffn"]) + keep * s, p["norm"])


@pytest.mark.parametrize("name", [n for n in _BLOCKS if n != "attention"])
def test_a_block_by_its_equations(name):
  params = _params(_BLOCKS[name])
  found = _run(name)(params, _X)
  p = jax.tree.map(np.float64, params["params"])
  for index in np.ndindex(2, 3):
    expected = _by_hand(name, p, np.float64(_X[index]))
    np.testing.assert_allclose(found[index], expected, rtol=2e-3, atol=2e-3)


def test_attention_is_a_softmax_over_all_tokens():
  layer = SlotAttention(2)
  shapes = jax.eval_shape(layer.init, jax.random.key(0), _X)
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.3, s.dtype), shapes
  )
  found = jax.jit(layer.apply)(params, _X)
  p = {n: np.float64(w["kernel"]) for n, w in params["params"]["heads"].items()}
  x, y = np.float64(_X[0, 0]), np.zeros((_T, _D))
  for h in range(2):
    own = slice(4 * h, 4 * h + 4)
    q, k, v = ((x @ p[n])[:, own] for n in ("query", "key", "value"))
    weights = np.exp(q @ k.T)
    y += weights / weights.sum(axis=1, keepdims=True) @ v @ p["output"][own]
  np.testing.assert_allclose(found[0, 0], y, rtol=1e-3, atol=1e-4)
  with pytest.raises(ValueError, match="num_heads=3 must divide the width 8"):
    SlotAttention(3).init(jax.random.key(0), _X)


@pytest.mark.parametrize("name", ["mix", "revert", "plain"])
def test_after_one_block_every_token_has_seen_every_other(name):
  """Unless nothing mixes them."""
  params = _params(_BLOCKS[name])
  run = _run(name)

  def of_token(x_TD):
    return run(params, x_TD[None, None])[0, 0]

  slopes = np.abs(jax.jit(jax.jacobian(of_token))(_X[0, 0])).sum(axis=(1, 3))
  assert slopes.shape == (_T, _T)
  met = slopes > 1e-6
  assert met.all() if name != "plain" else (met == np.eye(_T, dtype=bool)).all()


_NAMES = ("a", "b", "c", "d")
_TOKENS = SlicedTokens(FeatureGroups(_NAMES, (("all", ("*",)),)), _T, _D)
_FEATURES = jnp.asarray(_rng.normal(size=(2, 3, len(_NAMES), 6)), jnp.float32)


def _meet(stack, x, where, deterministic):
  met = stack.meet(x, where, deterministic)
  return met.vector, met.inner, met.dense, met.routed


@functools.cache
def _stack(block="revert", layers=5, **fields):
  return MixingStack(_TOKENS, _BLOCKS[block], layers, **fields)


def test_layers_have_parameters_of_their_own_and_their_residuals():
  stack = _stack(inter_layer=2, final_norm=True)
  shapes = jax.eval_shape(stack.init, jax.random.key(0), _FEATURES)
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda s: jnp.asarray(rng.normal(size=s.shape) * 0.5, s.dtype), shapes
  )
  p = jax.tree.map(np.float64, params["params"])
  assert set(p) == {"tokens", "norm", *(f"blocks_{i}" for i in range(5))}
  found = jax.jit(
    lambda p: stack.apply(p, _FEATURES, _REAL, False, method=_meet)
  )(params)
  vector, inner, dense, routed = found
  assert stack.num_inner == len(inner) == 2 and dense is None and not routed
  e = np.float64(_FEATURES[1, 2]).reshape(_T, -1)
  x = np.einsum("ts,tsd->td", e, p["tokens"]["project"])
  x = kept = x + p["tokens"]["project_bias"]
  for layer in range(1, 6):
    x = _by_hand("revert", p[f"blocks_{layer - 1}"], x)
    if layer in (2, 4):
      x = kept = x + kept
      np.testing.assert_allclose(
        inner[layer // 2 - 1][1, 2], x.mean(axis=0), rtol=5e-3, atol=5e-3
      )
  expected = _rms_norm(x, p["norm"]).mean(axis=0)
  np.testing.assert_allclose(vector[1, 2], expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", ["mix", "revert"])
def test_bfloat16_is_near_and_its_norms_are_float32(name):
  tokens = SlicedTokens(_TOKENS.groups, _T, _D, "bfloat16")
  half = {"dtype": "bfloat16"}
  block = _BLOCKS[name].clone(ffn=_BLOCKS[name].ffn.clone(**half), **half)
  stack = MixingStack(tokens, block, 2, final_norm=True, dtype="bfloat16")
  whole = _stack(name, 2, final_norm=True)
  params = jax.jit(whole.init)(jax.random.key(0), _FEATURES)
  # Statistics of numbers like these are lost in bfloat16.
  far = _FEATURES + 100.0
  found = jax.jit(stack.apply)(params, far)
  expected = jax.jit(whole.apply)(params, far)
  assert found.dtype == jnp.bfloat16
  error = np.float32(found) - np.asarray(expected)
  assert np.abs(error).max() < 0.1 * np.abs(np.asarray(expected)).max()


@pytest.mark.parametrize("name", ["mix", "revert"])
def test_parameters_and_flops_are_those_of_their_sizes(name):
  width, hidden, rows, tokens, layers = 32, 64, 4, 4, 3
  parts, matrices = (2, 3) if name == "revert" else (1, 2)
  ffn = _BLOCKS[name].ffn.clone(hidden_width=hidden)
  block = _BLOCKS[name].clone(ffn=ffn)
  stack = MixingStack(
    SlicedTokens(_TOKENS.groups, tokens, width), block, layers
  )
  if name == "revert":
    stack = stack.clone(block=block.clone(heads=tokens))
  x = jnp.zeros((rows, 4, 16))
  params = jax.eval_shape(stack.init, jax.random.key(0), x)
  sizes = MixingSizes(tokens, width, hidden, layers, parts, matrices)
  # What makes tokens, of 16 entries each.
  made = tokens * 16 * width
  counted = sum(p.size for p in jax.tree.leaves(params))
  assert counted == pytest.approx(sizes.parameters + made, rel=0.05)
  compiled = jax.jit(stack.apply).lower(params, x).compile()
  flops = compiled_cost(compiled).flops / rows
  assert flops == pytest.approx(sizes.flops + 2 * made, rel=0.05)
  # The published forms, of an inner width k D: 2 k L T D^2, and twice that.
  if name == "mix":
    k = hidden / width
    assert sizes.parameters == 2 * k * layers * tokens * width**2
    assert sizes.flops == 4 * k * layers * tokens * width**2


@pytest.mark.parametrize(
  ("block", "experts", "dense"),
  [
    (MixBlock, SlotExperts(TopKRouter(1), 2, 3), False),
    (MixRevertBlock, TwoRouterSlotExperts(ReluRouter(), 2, 3), True),
  ],
)
def test_mixtures_say_where_they_lie_and_a_second_pass_is_of_training(
  block, experts, dense
):
  stack = MixingStack(_TOKENS, block(experts), 2)
  parts = 1 if block is MixBlock else 2
  params = jax.jit(stack.init)(jax.random.key(0), _FEATURES)["params"]
  run = jax.jit(
    lambda p, train: stack.apply(
      {"params": p}, _FEATURES, _REAL, not train, method=_meet
    ),
    static_argnums=1,
  )
  vector, _, trained, routed = run(params, True)
  assert (trained is not None) == dense and len(routed) == 2 * parts
  assert run(params, False)[2] is None
  np.testing.assert_allclose(run(params, False)[0], vector, rtol=1e-5)
  paths = [path for one in routed for path in one.assign]
  if dense:
    assert not np.allclose(trained, vector)
    names = {path[:2] for path in paths}
    ffns = ("ffn",) if parts == 1 else ("of_mixed", "of_tokens")
    assert names == {(f"blocks_{i}", f) for i in range(2) for f in ffns}
  for path in paths:
    found = functools.reduce(lambda node, name: node[name], path, params)
    assert found.shape == ()
  # Every array has an entry for what its dimensions are called.
  assert {"tokens/project"} < stack.logical_axes.keys()


def test_an_interaction_of_the_other_kind_gives_its_vector_alone():
  met = meet(Concat().bind({}), _FEATURES, _REAL, True)
  np.testing.assert_array_equal(met.vector, _FEATURES.reshape(2, 3, -1))
  assert not met.inner and met.dense is None and not met.routed


def test_what_cannot_be():
  with pytest.raises(ValueError, match="inter_layer=2: .* last of 2 layers"):
    _stack("mix", 2, inter_layer=2)
  with pytest.raises(ValueError, match="num_layers=0"):
    _stack("mix", 0)
  with pytest.raises(ValueError, match="width 8 cannot be cut into 3 heads"):
    HeadMixing()(jnp.zeros((3, 8)))
  one = TwoRouterSlotExperts(ReluRouter(), 2, 3)
  with pytest.raises(ValueError, match="give both one, or neither"):
    _ = MixRevertBlock(_GATED, mixed_ffn=one).trains_densely
