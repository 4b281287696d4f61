# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts: every form is a loop over tokens and experts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.moe import expert_mixture

_T, _D, _F, _E, _K = 45, 4, 6, 5, 2
_rng = np.random.default_rng(0)
_X = _rng.normal(size=(_T, _D))
_GRAD = _rng.normal(size=(_T, _D))
_WEIGHTS = {
  "in": _rng.normal(size=(_E, _D, _F)),
  "linear": _rng.normal(size=(_E, _D, _F)),
  "out": _rng.normal(size=(_E, _F, _D)),
}
_GATES = _rng.uniform(0.1, 1, (_T, _K))
# Nobody takes expert 2, and expert 0 is taken by far more than one block has.
_EXPERTS = np.array(
  [_rng.permutation([0, _rng.choice([1, 3, 4])]) for _ in range(_T)]
)
# Some tokens take one expert, or none.
_EXPERTS[3, 0] = _EXPERTS[7] = _EXPERTS[-1, 1] = _E


def _silu(z):
  s = 1 / (1 + np.exp(-z))
  return z * s, s * (1 + z * (1 - s))


def _relu(z):
  return np.maximum(z, 0), (z > 0).astype(z.dtype)


_ACTIVATIONS = {jax.nn.silu: _silu, jax.nn.relu: _relu}


def _loop(x, weights, experts, gates, grad, activation):
  """Values and gradients of sum(grad * y), pair by pair, in float64."""
  y, dx, dg = np.zeros_like(x), np.zeros_like(x), np.zeros_like(gates)
  dw = {name: np.zeros_like(w) for name, w in weights.items()}
  for t in range(len(x)):
    for k, e in enumerate(experts[t]):
      if e == len(weights["in"]):
        continue
      w = {name: one[e] for name, one in weights.items()}
      a, slope = _ACTIVATIONS[activation](x[t] @ w["in"])
      line = x[t] @ w["linear"] if "linear" in w else np.ones_like(a)
      out = (a * line) @ w["out"]
      y[t] += gates[t, k] * out
      dg[t, k] = out @ grad[t]
      dh = gates[t, k] * w["out"] @ grad[t]
      dw["out"][e] += gates[t, k] * np.outer(a * line, grad[t])
      dw["in"][e] += np.outer(x[t], dh * line * slope)
      dx[t] += w["in"] @ (dh * line * slope)
      if "linear" in w:
        dw["linear"][e] += np.outer(x[t], dh * a)
        dx[t] += w["linear"] @ (dh * a)
  return y, dx, dw, dg


@functools.lru_cache
def _jitted(activation, dtype, implementation):
  def run(x, weights, experts, gates, grad):
    def value(x, weights, gates):
      return expert_mixture(
        x,
        weights,
        experts,
        gates,
        activation=activation,
        dtype=dtype,
        implementation=implementation,
      )

    y, pull = jax.vjp(value, x, weights, gates)
    return y, *pull(grad.astype(y.dtype))

  return jax.jit(run)


def _run(
  experts=_EXPERTS,
  gates=_GATES,
  *,
  x=_X,
  weights=_WEIGHTS,
  activation=jax.nn.silu,
  dtype="float32",
  implementation="blocks",
):
  args = jax.tree.map(
    lambda a: jnp.asarray(a, "int32" if a.dtype.kind == "i" else "float32"),
    (x, weights, experts, gates, _GRAD[: len(x)]),
  )
  return _jitted(activation, dtype, implementation)(*args)


def _close(found, expected, tol=2e-5):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      np.asarray(a, "float64"), b, rtol=tol, atol=tol * np.abs(b).max()
    ),
    found,
    expected,
  )


@pytest.mark.parametrize(
  ("activation", "implementation", "gated"),
  [
    (jax.nn.silu, "blocks", True),
    (jax.nn.relu, "blocks", False),
    (jax.nn.silu, "dense", True),
  ],
)
def test_values_and_gradients_are_those_of_a_loop(
  activation, implementation, gated
):
  weights = {n: w for n, w in _WEIGHTS.items() if gated or n != "linear"}
  found = _run(
    weights=weights, activation=activation, implementation=implementation
  )
  expected = _loop(_X, weights, _EXPERTS, _GATES, _GRAD, activation)
  _close(found, expected)
  assert not found[0][7].any() and not found[2]["in"][2].any()


def test_all_experts_of_all_tokens_are_the_dense_sum():
  experts = np.array([_rng.permutation(_E) for _ in range(_T)])
  gates = _rng.uniform(size=(_T, _E))
  y = _run(experts, gates)[0]
  h = np.einsum("td,edf->tef", _X, _WEIGHTS["in"])
  h = _silu(h)[0] * np.einsum("td,edf->tef", _X, _WEIGHTS["linear"])
  of_expert = np.take_along_axis(gates, np.argsort(experts, axis=1), axis=1)
  expected = np.einsum("te,tef,efd->td", of_expert, h, _WEIGHTS["out"])
  _close(y, expected)


def test_tokens_in_another_order_give_the_same_in_that_order():
  order = _rng.permutation(_T)
  y, (moved, *_) = _run()[0], _run(_EXPERTS[order], _GATES[order], x=_X[order])
  _close(moved, np.asarray(y, "float64")[order], tol=1e-6)


@pytest.mark.parametrize("expert", [0, 3, _E])
def test_an_expert_may_have_all_tokens_and_none_is_dropped(expert):
  experts = np.full((_T, _K), _E)
  experts[:, 1] = expert
  found = _run(experts)
  expected = _loop(_X, _WEIGHTS, experts, _GATES, _GRAD, jax.nn.silu)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-4),
    found,
    expected,
  )
  assert (np.abs(found[0]).max(axis=1) > 0).all() == (expert < _E)


def test_bfloat16_is_near_and_gradients_keep_their_own_type():
  found = _run(dtype="bfloat16")
  assert found[0].dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves(found[1:])} == {np.dtype("float32")}
  expected = _loop(_X, _WEIGHTS, _EXPERTS, _GATES, _GRAD, jax.nn.silu)
  _close(found, expected, tol=0.03)


@pytest.mark.parametrize(
  ("active", "loops"), [(None, False), (3.0, False), (2.0, True)]
)
def test_few_of_many_experts_are_taken_in_blocks(active, loops):
  experts = jnp.broadcast_to(jnp.arange(_E), (_T, _E))
  weights = jax.tree.map(jnp.asarray, _WEIGHTS)
  program = jax.make_jaxpr(
    functools.partial(expert_mixture, active=active, implementation=None)
  )(jnp.asarray(_X), weights, experts, jnp.ones((_T, _E)))
  assert ("while" in str(program)) == loops


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"weights": {"in": _WEIGHTS["in"]}}, "give 'in' and 'out'"),
    ({"x": _X[:, :3]}, r"'in'.*\(5, 4, 6\), not \(5, 3, 6\)"),
    (
      {"weights": {**_WEIGHTS, "out": _WEIGHTS["out"][:, :5]}},
      r"'out'.*\(5, 5, 4\), not \(5, 6, 4\)",
    ),
    (
      {"weights": {**_WEIGHTS, "linear": _WEIGHTS["linear"][:4]}},
      r"'linear'.*\(4, 4, 6\), not \(5, 4, 6\)",
    ),
    ({"gates": _GATES[:, :1]}, "experts of shape .* do not fit"),
    ({"x": _X[:9]}, "9 tokens, experts of shape"),
    (
      {"experts": np.zeros((_T, 6), int), "gates": np.ones((_T, 6))},
      "6 different experts of 5",
    ),
    ({"implementation": "ragged"}, "'ragged' is unknown.*'?blocks"),
  ],
)
def test_what_does_not_fit_is_said(change, words):
  options = {"experts": _EXPERTS, "gates": _GATES, "x": _X, "weights": _WEIGHTS}
  options |= change
  arrays = [options.pop(n) for n in ("x", "weights", "experts", "gates")]
  with pytest.raises(ValueError, match=words):
    # Without the checks of annotations, which tests run under.
    plain = getattr(expert_mixture, "__wrapped__", expert_mixture)
    plain(*jax.tree.map(jnp.asarray, arrays), **options)
