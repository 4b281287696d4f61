# SPDX-License-Identifier: Apache-2.0
"""Slots with experts of their own: both forms are a loop over pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.slot_mixture import numbered, slot_mixture

_T, _S, _D, _F, _E, _K = 9, 3, 4, 5, 4, 2
_rng = np.random.default_rng(0)
_X = _rng.normal(size=(_T, _S, _D)).astype(np.float32)
_WEIGHTS = {
  "in": _rng.normal(size=(_S * _E, _D, _F)).astype(np.float32),
  "linear": _rng.normal(size=(_S * _E, _D, _F)).astype(np.float32),
  "out": _rng.normal(size=(_S * _E, _F, _D)).astype(np.float32),
}
_GATES = _rng.uniform(0.1, 1, (_T, _S, _K)).astype(np.float32)
_EXPERTS = np.stack(
  [_rng.permutation(_E)[:_K] for _ in range(_T * _S)]
).reshape(_T, _S, _K)
# Nobody takes expert 1 of slot 2; some take one expert, or none.
_EXPERTS[:, 2] = np.array([0, 3])
_EXPERTS[4, 0, 1] = _EXPERTS[5, 1] = _E


def _loop(x, weights, experts, gates):
  """Pair by pair, in float64."""
  y = np.zeros(x.shape)
  for t, s, k in np.ndindex(*experts.shape):
    e = experts[t, s, k]
    if e == _E:
      continue
    w = {name: np.float64(one[s * _E + e]) for name, one in weights.items()}
    a = x[t, s] @ w["in"]
    h = a / (1 + np.exp(-a)) * (x[t, s] @ w["linear"])
    y[t, s] += gates[t, s, k] * (h @ w["out"])
  return y


@functools.cache
def _found(implementation):
  def run(x, weights, gates):
    y = slot_mixture(
      x, weights, jnp.asarray(_EXPERTS), gates, implementation=implementation
    )
    return jnp.sum(jnp.sin(y)), y

  args = jax.tree.map(jnp.asarray, (_X, _WEIGHTS, _GATES))
  step = jax.value_and_grad(run, argnums=(0, 1, 2), has_aux=True)
  return jax.jit(step)(*args)


def test_both_forms_are_a_loop_and_have_its_gradients():
  expected = _loop(_X, _WEIGHTS, _EXPERTS, _GATES)
  (_, blocks), of_blocks = _found("blocks")
  (_, dense), of_dense = _found("dense")
  np.testing.assert_allclose(dense, expected, rtol=1e-4, atol=1e-4)
  np.testing.assert_allclose(blocks, expected, rtol=1e-4, atol=1e-4)
  assert not blocks[5, 1].any() and not dense[5, 1].any()
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3),
    of_blocks,
    of_dense,
  )
  # By central differences of the loop.
  for index in ((0, 0, 1), (4, 0, 2), (8, 2, 3)):
    ends = []
    for by in (1e-5, -1e-5):
      moved = np.float64(_X)
      moved[index] += by
      ends.append(np.sin(_loop(moved, _WEIGHTS, _EXPERTS, _GATES)).sum())
    slope = (ends[0] - ends[1]) / 2e-5
    assert float(of_dense[0][index]) == pytest.approx(slope, rel=1e-2, abs=1e-2)
  # An expert that nobody takes learns nothing.
  assert not of_dense[1]["in"][2 * _E + 1].any()
  assert of_dense[1]["in"][2 * _E].any()


def test_experts_are_numbered_slot_by_slot():
  found = numbered(jnp.asarray(_EXPERTS), _E)
  for t, s, k in np.ndindex(*_EXPERTS.shape):
    e = _EXPERTS[t, s, k]
    assert int(found[t, s, k]) == (_S * _E if e == _E else s * _E + e)


@pytest.mark.parametrize(("active", "loops"), [(2.0, False), (1.0, True)])
def test_few_of_many_experts_are_taken_in_blocks(active, loops):
  run = functools.partial(slot_mixture, active=active)
  args = jax.tree.map(jnp.asarray, (_X, _WEIGHTS, _EXPERTS, _GATES))
  assert ("while" in str(jax.make_jaxpr(run)(*args))) == loops


def test_what_does_not_fit_is_said():
  args = jax.tree.map(jnp.asarray, (_X, _WEIGHTS, _EXPERTS, _GATES))
  with pytest.raises(ValueError, match="'ragged' is unknown"):
    slot_mixture(*args, implementation="ragged")
  with pytest.raises(ValueError, match="12 experts are not those of 5 slots"):
    plain = getattr(slot_mixture, "__wrapped__", slot_mixture)
    plain(jnp.zeros((2, 5, _D)), *args[1:])
