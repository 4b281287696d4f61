# SPDX-License-Identifier: Apache-2.0
"""Preference losses against loops in float64, their limits and their edges."""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.objectives.preference import dpo, ipo, softmax_dpo

_LOSSES = {
  "dpo": functools.partial(dpo, beta=0.7),
  "cdpo": functools.partial(dpo, beta=0.7, label_smoothing=0.2),
  "ipo": functools.partial(ipo, beta=0.4),
  "softmax_dpo": functools.partial(softmax_dpo, beta=0.7),
}


def _log_sigmoid(x):
  return -math.log1p(math.exp(-x))


def _of_pairs(name, h):
  """Loss of one chosen answer, by its margins."""
  x = [0.7 * one for one in h]
  if name == "dpo":
    return -_log_sigmoid(x[0])
  if name == "cdpo":
    return -0.8 * _log_sigmoid(x[0]) - 0.2 * _log_sigmoid(-x[0])
  if name == "ipo":
    return (h[0] - 1 / 0.8) ** 2
  return -_log_sigmoid(-math.log(sum(math.exp(-one) for one in x)))


def _oracle(name, logs, where, weights):
  """Weighted mean over chosen answers of (B,) and (B, N) in float64."""
  total = weight = 0.0
  pairs = []
  for b in range(len(where)):
    h = []
    for n in range(where.shape[1]):
      if where[b, n]:
        chosen = logs[0][b] - logs[2][b]
        h.append(chosen - (logs[1][b, n] - logs[3][b, n]))
    if h:
      total += weights[b] * _of_pairs(name, h)
      weight += weights[b]
      pairs += [(weights[b], one) for one in h]
  margin = np.average([h for _, h in pairs], weights=[w for w, _ in pairs])
  return total / weight, margin


def _case(num_rejected=3):
  """Log-probabilities of 5 chosen answers, which of them count, weights."""
  rng = np.random.default_rng(0)
  shapes = [(5,), (5, num_rejected)] * 2
  logs = [rng.normal(-5, 1.5, s).astype(np.float32) for s in shapes]
  where = rng.random((5, num_rejected)) < 0.7
  where[0], where[1] = True, False
  return logs, where, rng.uniform(0.5, 2, 5)


def _flat(logs, where):
  return [x.reshape(5) for x in logs], where.reshape(5)


def _compute(loss, logs, **more):
  """Loss and parts, and gradients for all four."""

  def of(*logs):
    return loss(*logs, **more)

  compute = jax.jit(jax.value_and_grad(of, (0, 1, 2, 3), has_aux=True))
  (value, parts), gradients = compute(*map(jnp.asarray, logs))
  return value, parts, [np.asarray(g) for g in gradients]


@pytest.mark.parametrize("name", _LOSSES)
def test_loss_and_gradient_equal_a_loop_over_the_pairs_that_count(name):
  several = name == "softmax_dpo"
  logs, where, weights = _case(3 if several else 1)
  value, margin = _oracle(name, logs, where, weights)
  given, given_where = (logs, where) if several else _flat(logs, where)
  # What is dropped may hold anything.
  spoilt = [np.array(x) for x in given]
  spoilt[1][~given_where], spoilt[3][~given_where] = np.nan, np.inf
  for x in (spoilt[0], spoilt[2]):
    x[~where.any(axis=1)] = np.nan
  got, parts, gradients = _compute(
    _LOSSES[name],
    spoilt,
    where=jnp.asarray(given_where),
    weights=jnp.asarray(weights, jnp.float32),
  )
  np.testing.assert_allclose(got, value, rtol=1e-5)
  np.testing.assert_allclose(parts["margin"].compute(), margin, rtol=1e-5)
  assert got.dtype == jnp.float32
  logs = [x.astype(np.float64) for x in logs]
  for which in (0, 1):
    expected = np.zeros_like(logs[which])
    for place in np.ndindex(expected.shape):
      for sign in (1, -1):
        moved = [x.copy() for x in logs]
        moved[which][place] += sign * 1e-5
        moved_value, _ = _oracle(name, moved, where, weights)
        expected[place] += sign * moved_value / 2e-5
    np.testing.assert_allclose(
      gradients[which].reshape(expected.shape), expected, rtol=1e-4, atol=1e-7
    )
    dropped = ~where.any(axis=1) if which == 0 else ~given_where
    np.testing.assert_array_equal(gradients[which][dropped], 0)
  for of_reference in gradients[2:]:
    np.testing.assert_array_equal(of_reference, 0)


def test_accuracy_is_the_share_of_pairs_in_the_right_order():
  h = jnp.array([1.0, -1.0, 2.0, 0.0])
  zero = jnp.zeros(4)
  _, parts = dpo(h, zero, zero, zero, where=jnp.array([1, 1, 1, 0]) > 0)
  np.testing.assert_allclose(parts["accuracy"].compute(), 2 / 3, rtol=1e-6)


def test_one_rejected_answer_is_dpo():
  logs, where = _flat(*_case(1)[:2])
  where = jnp.asarray(where)
  one = _compute(_LOSSES["dpo"], logs, where=where)
  logs = [logs[0], logs[1][:, None], logs[2], logs[3][:, None]]
  several = _compute(_LOSSES["softmax_dpo"], logs, where=where[:, None])
  np.testing.assert_allclose(several[0], one[0], rtol=1e-6)
  for a, b in zip(several[2], one[2], strict=True):
    np.testing.assert_allclose(a.reshape(5), b, rtol=1e-5)


def test_a_policy_that_is_the_reference_has_log_2_and_half_of_beta():
  logs, _ = _flat(*_case(1)[:2])
  value, parts, gradients = _compute(_LOSSES["dpo"], logs[:2] * 2)
  np.testing.assert_allclose(value, math.log(2), rtol=1e-6)
  assert float(parts["margin"].compute()) == 0
  np.testing.assert_allclose(gradients[0], -0.7 / 2 / 5, rtol=1e-6)


def test_a_small_beta_makes_it_the_margin():
  logs, _ = _flat(*_case(1)[:2])
  small = functools.partial(dpo, beta=1e-4)
  _, _, gradients = _compute(small, logs)
  np.testing.assert_allclose(gradients[0] * 5 / 1e-4, -0.5, rtol=1e-3)
  np.testing.assert_allclose(gradients[1] * 5 / 1e-4, 0.5, rtol=1e-3)


@pytest.mark.parametrize(
  ("name", "optimum"), [("ipo", 1 / 0.8), ("cdpo", math.log(4) / 0.7)]
)
def test_losses_with_an_optimum_rest_there_and_pull_towards_it(name, optimum):
  h = np.full(3, optimum, np.float32) + np.array([-0.5, 0, 0.5], np.float32)
  zero = np.zeros(3, np.float32)
  _, _, gradients = _compute(_LOSSES[name], [h, zero, zero, zero])
  left, rest, right = gradients[0]
  assert left < -0.01 and right > 0.01
  np.testing.assert_allclose(rest, 0, atol=1e-7)


@pytest.mark.parametrize("name", ["cdpo", "ipo", "softmax_dpo"])
def test_only_the_difference_of_differences_counts(name):
  logs, where, _ = _case(3 if name == "softmax_dpo" else 1)
  if name != "softmax_dpo":
    logs, where = _flat(logs, where)
  run = jax.jit(lambda *logs: _LOSSES[name](*logs)[0])
  value = run(*logs)
  for shift in ((1, 1, 0, 0), (1, 0, 1, 0), (0, 2, 0, 2)):
    moved = [x + np.float32(s) for x, s in zip(logs, shift, strict=True)]
    np.testing.assert_allclose(run(*moved), value, rtol=1e-5)
  moved = [logs[0] + 1, *logs[1:]]
  assert abs(run(*moved) - value) > 0.01


@pytest.mark.parametrize("name", _LOSSES)
def test_without_a_pair_loss_and_gradient_are_0(name):
  logs, where, _ = _case(3 if name == "softmax_dpo" else 1)
  if name != "softmax_dpo":
    logs, where = _flat(logs, where)
  for fill in (0.0, np.nan):
    empty = [np.full_like(x, fill) for x in logs]
    none = jnp.zeros(where.shape, bool)
    value, parts, gradients = _compute(_LOSSES[name], empty, where=none)
    assert value == 0 and parts["accuracy"].count == 0
    for gradient in gradients:
      np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", _LOSSES)
def test_bfloat16_is_computed_in_float32(name):
  logs, _, _ = _case(3 if name == "softmax_dpo" else 1)
  if name != "softmax_dpo":
    logs = [x.reshape(5) for x in logs]
  run = jax.jit(lambda *logs: _LOSSES[name](*logs)[0])
  short = [jnp.asarray(x, jnp.bfloat16) for x in logs]
  value = run(*short)
  assert value.dtype == jnp.float32
  assert value == run(*(x.astype(jnp.float32) for x in short))


def test_far_margins_stay_finite():
  h, zero = np.array([1e6, -1e6], np.float32), np.zeros(2, np.float32)
  value, _, gradients = _compute(_LOSSES["dpo"], [h, zero, zero, zero])
  np.testing.assert_allclose(value, 0.7e6 / 2, rtol=1e-6)
  np.testing.assert_allclose(gradients[0], [0, -0.7 / 2], rtol=1e-6)
  h, zero = h[:, None], zero[:, None]
  far = [zero[:, 0], -h, zero[:, 0], zero]
  value, _, gradients = _compute(_LOSSES["softmax_dpo"], far)
  np.testing.assert_allclose(value, 0.7e6 / 2, rtol=1e-6)
  np.testing.assert_allclose(gradients[0], [0, -0.7 / 2], rtol=1e-6)


def test_options_that_cannot_be_are_errors():
  one, pair = jnp.zeros(2), jnp.zeros((2, 3))
  for beta in (0.0, -1.0, math.nan, math.inf):
    for loss, rejected in ((dpo, one), (ipo, one), (softmax_dpo, pair)):
      with pytest.raises(ValueError, match="beta=.* must be above 0"):
        loss(one, rejected, one, rejected, beta=beta)
  for smoothing in (-0.1, 0.5, math.nan):
    with pytest.raises(ValueError, match=r"at least 0 and below \.5"):
      dpo(one, one, one, one, label_smoothing=smoothing)


def test_shapes_that_would_be_broadcast_are_errors():
  one, pair = jnp.zeros(2), jnp.zeros((2, 1))
  # Types say so as well, but only where somebody checks them.
  for loss in (dpo, ipo):
    with pytest.raises(ValueError, match=r"of the shapes .*: make them one"):
      inspect.unwrap(loss)(one, pair, one, pair)
  with pytest.raises(ValueError, match=r"of the shapes .*: make them one"):
    inspect.unwrap(softmax_dpo)(pair, pair, pair, pair)
