# SPDX-License-Identifier: Apache-2.0
"""Heads: a task's logit by hand, gates that sum to one, dropped experts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.sharding import MeshOptions
from genrec_jax.layers.action_heads import LinearHead, MMoE, SharedMlp, TaskMlp

_H = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
_X = jnp.asarray(_H)


def _with_params(head):
  shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), _X, True))
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes
  )
  return params, jax.tree.map(np.asarray, params["params"])


def test_tasks_of_an_mlp_are_separate():
  params, p = _with_params(head := TaskMlp(num_tasks=2, hidden_width=5))
  got = head.apply(params, _X, True)
  t = p["towers"]
  for task in range(2):
    x = np.maximum(_H @ t["hidden"][task] + t["hidden_bias"][task], 0)
    expected = x @ t["out"][task] + t["out_bias"][task]
    np.testing.assert_allclose(got[..., task], expected, rtol=1e-4, atol=1e-5)


def test_a_shared_mlp_feeds_all_tasks():
  params, p = _with_params(head := SharedMlp(num_tasks=2, widths=(5, 3)))
  x = _H
  for layer in ("Dense_0", "Dense_1"):
    dense = p["mlp"][layer]
    x = np.maximum(x @ dense["kernel"] + dense["bias"], 0)
  expected = x @ p["out"]["kernel"] + p["out"]["bias"]
  got = head.apply(params, _X, True)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_experts_are_weighed_by_a_gate_per_task():
  head = MMoE(num_tasks=2, num_experts=3, hidden_width=5)
  params, p = _with_params(head)
  got = head.apply(params, _X, True)
  experts = _H @ p["experts"]["kernel"] + p["experts"]["bias"]
  experts = np.maximum(experts, 0).reshape(2, 3, 3, 5)
  gates = (_H @ p["gates"]["kernel"] + p["gates"]["bias"]).reshape(2, 3, 2, 3)
  gates = np.exp(gates) / np.exp(gates).sum(-1, keepdims=True)
  t = p["towers"]
  for task in range(2):
    mixed = np.einsum("ble,blef->blf", gates[:, :, task], experts)
    x = np.maximum(mixed @ t["hidden"][task] + t["hidden_bias"][task], 0)
    expected = x @ t["out"][task] + t["out_bias"][task]
    np.testing.assert_allclose(got[..., task], expected, rtol=1e-4, atol=1e-5)


def test_a_dropped_gate_hides_an_expert():
  head = MMoE(2, num_experts=2, hidden_width=5, gate_dropout=0.5)
  params, _ = _with_params(head)
  whole = head.apply(params, _X, True)
  seen = set()
  for seed in range(8):
    rngs = {"dropout": jax.random.key(seed)}
    found = head.apply(params, _X, False, rngs=rngs)
    assert np.all(np.isfinite(found))
    seen.add(float(jnp.sum(jnp.abs(found - whole))) > 1e-3)
  assert True in seen


@pytest.mark.parametrize("preset", ["fsdp", "tp"])
@pytest.mark.parametrize(
  "head",
  [
    LinearHead(2),
    SharedMlp(2, (16, 8)),
    TaskMlp(2, 8),
    MMoE(2, num_experts=3, hidden_width=8),
  ],
)
def test_what_is_read_may_have_any_width_on_any_mesh(head, preset):
  """Features beside the hidden state: 13 wide, and eight devices."""
  axes = {"data": 8} if preset == "fsdp" else {"model": 8}
  placement = MeshOptions(preset, axes).place()
  x = jnp.zeros((2, 3, 13))
  shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), x, True))
  params = {"heads": shapes["params"]}
  shardings = placement.shardings(params, head.logical_axes)
  # What is inside a head is split still.
  specs = [s.spec for s in jax.tree.leaves(shardings)]
  split = preset == "tp" and not isinstance(head, LinearHead)
  assert any(any(spec) for spec in specs) == split


@pytest.mark.parametrize(
  "head",
  [
    LinearHead(2),
    SharedMlp(2, (5,)),
    TaskMlp(2, 5),
    MMoE(2, num_experts=2, hidden_width=5),
  ],
)
def test_logits_are_float32(head):
  params, _ = _with_params(head)
  got = head.apply(params, jnp.asarray(_H, jnp.bfloat16), True)
  assert got.dtype == jnp.float32 and got.shape == (2, 3, 2)
