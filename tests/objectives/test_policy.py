# SPDX-License-Identifier: Apache-2.0
"""Policy losses against loops in float64, and what each of them bounds."""

import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.objectives.policy import ecpo, gbpo, ppo_clip, reference_kl

_SHAPE = (2, 3, 4)


def _case():
  """Log-probabilities, advantages of samples, and tokens that count.

  Of this seed tokens and samples of both signs are cut off, raised, or neither.
  """
  rng = np.random.default_rng(249)
  policy = -rng.exponential(1.5, _SHAPE).astype(np.float32) - 0.05
  old = np.minimum(policy + rng.normal(0, 0.8, _SHAPE), -0.01)
  advantage = rng.normal(size=(*_SHAPE[:2], 1)).astype(np.float32)
  advantage[0, 1] = 0
  where = rng.random(_SHAPE) < 0.7
  where[0, 0], where[1, 2] = True, False
  return policy, old.astype(np.float32), advantage, where


def _clip(r, a, low, high):
  return min(r * a, min(max(r, 1 - low), 1 + high) * a)


def _ppo(x, fixed, old, a, low=0.2, high=0.2):
  return _clip(math.exp(x - old), a, low, high)


def _ecpo(x, fixed, old, a):
  pi_old = math.exp(old)
  if a < 0:
    pi_old = max(pi_old, math.exp(fixed) / (1 + 0.3 + 0.15))
  return _clip(math.exp(x) / pi_old, a, 0.3, 0.3)


def _gbpo(x, fixed, old, a):
  pi = math.exp(fixed)
  return math.exp(x) / max(math.exp(old), pi if a >= 0 else 1 - pi) * a


def _kl(x, fixed, old, a):
  return -(math.exp(old - x) - (old - x) - 1)


def _oracle(objective, policy, case, sample_ratio, sample_mean):
  """- mean of the objective; what sg holds comes from the case's policy."""
  fixed, old, advantage, where = case
  samples = []
  for k in np.ndindex(where.shape[:2]):
    here = where[k]
    units = list(
      zip(policy[k][here], fixed[k][here], old[k][here], strict=True)
    )
    if sample_ratio and units:
      units = [tuple(map(sum, zip(*units, strict=True)))]
    values = [objective(*unit, float(advantage[k][0])) for unit in units]
    if values:
      samples.append(values)
  if sample_mean:
    return -np.mean([np.mean(values) for values in samples])
  return -np.mean(np.concatenate(samples))


_CASES = {
  "ppo": (ppo_clip, _ppo, {}),
  "ppo_higher_by_sample": (
    functools.partial(ppo_clip, low=0.1, high=0.28),
    functools.partial(_ppo, low=0.1, high=0.28),
    {"sample_mean": True},
  ),
  "ppo_of_samples": (ppo_clip, _ppo, {"sample_ratio": True}),
  "ecpo": (functools.partial(ecpo, epsilon=0.3, delta=0.15), _ecpo, {}),
  "ecpo_of_samples": (
    functools.partial(ecpo, epsilon=0.3, delta=0.15),
    _ecpo,
    {"sample_ratio": True, "sample_mean": True},
  ),
  "gbpo": (gbpo, _gbpo, {"sample_mean": True}),
  "gbpo_of_samples": (gbpo, _gbpo, {"sample_ratio": True}),
  "kl": (
    lambda policy, old, advantage, **more: reference_kl(policy, old, **more),
    _kl,
    {"sample_mean": True},
  ),
}


def _compute(loss, *arrays, **more):
  """Loss and parts, and gradients for all arrays."""

  def of(*arrays):
    return loss(*arrays, **more)

  arguments = tuple(range(len(arrays)))
  compute = jax.jit(jax.value_and_grad(of, arguments, has_aux=True))
  (value, parts), gradients = compute(*map(jnp.asarray, arrays))
  return value, parts, [np.asarray(g) for g in gradients]


def _pushes(loss, policy, old, advantage, **more):
  """The gradients of single tokens, as if each were alone."""
  values = np.broadcast_arrays(policy, old, advantage)
  flat = [np.float32(x).reshape(1, 1, -1) for x in values]
  value, parts, gradients = _compute(loss, *flat, **more)
  assert np.isfinite(gradients[0]).all()
  return gradients[0][0, 0] * flat[0].size, parts


@pytest.mark.parametrize("name", _CASES)
def test_loss_and_gradient_equal_a_loop_over_the_tokens_that_count(name):
  loss, objective, options = _CASES[name]
  policy, old, advantage, where = _case()
  with_sample = where.any(axis=-1, keepdims=True)
  value, _, gradients = _compute(
    loss,
    np.where(where, policy, np.nan),
    np.where(where, old, np.inf),
    np.where(with_sample, advantage, np.nan),
    where=jnp.asarray(where),
    **options,
  )
  case = policy.astype(np.float64), old.astype(np.float64), advantage, where
  choice = {"sample_ratio": False, "sample_mean": False} | options
  of = functools.partial(_oracle, objective, case=case, **choice)
  np.testing.assert_allclose(value, of(case[0]), rtol=1e-5)
  assert value.dtype == jnp.float32
  expected = np.zeros(_SHAPE)
  for place in np.argwhere(where):
    for sign in (1, -1):
      moved = case[0].copy()
      moved[tuple(place)] += sign * 1e-6
      expected[tuple(place)] += sign * of(moved) / 2e-6
  np.testing.assert_allclose(gradients[0], expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(gradients[0][~where], 0)
  for of_constant in gradients[1:]:
    np.testing.assert_array_equal(of_constant, 0)


def test_tokens_may_have_advantages_of_their_own():
  policy, old, advantage, where = _case()
  one = _compute(ppo_clip, policy, old, advantage, where=jnp.asarray(where))
  wide = np.broadcast_to(advantage, _SHAPE)
  each = _compute(ppo_clip, policy, old, wide, where=jnp.asarray(where))
  np.testing.assert_array_equal(one[2][0], each[2][0])
  wide = np.where(np.arange(4) == 1, wide, 0)
  alone = _compute(ppo_clip, policy, old, wide, where=jnp.asarray(where))
  assert (alone[2][0][..., [0, 2, 3]] == 0).all()
  np.testing.assert_array_equal(alone[2][0][..., 1], one[2][0][..., 1])


@pytest.mark.parametrize("loss", [ppo_clip, ecpo])
def test_at_a_ratio_of_1_it_is_the_plain_policy_gradient(loss):
  policy, _, advantage, _ = _case()
  _, parts, gradients = _compute(loss, policy, policy, advantage)
  expected = np.broadcast_to(-advantage / policy.size, _SHAPE)
  np.testing.assert_allclose(gradients[0], expected, rtol=1e-6)
  assert parts["clipped"].compute() == 0


def test_the_clip_takes_the_gradient_on_one_side_only():
  ratio = np.array([0.5, 0.75, 0.85, 1.15, 1.25, 1.35])
  for low, high in ((0.2, 0.2), (0.2, 0.28)):
    more = {"low": low, "high": high}
    up, parts = _pushes(ppo_clip, np.log(ratio) - 3, -3.0, 2.0, **more)
    np.testing.assert_allclose(
      up, np.where(ratio <= 1 + high, -2 * ratio, 0), rtol=1e-5
    )
    share = (ratio > 1 + high).mean()
    np.testing.assert_allclose(parts["clipped"].compute(), share, rtol=1e-6)
    down, parts = _pushes(ppo_clip, np.log(ratio) - 3, -3.0, -2.0, **more)
    np.testing.assert_allclose(
      down, np.where(ratio >= 1 - low, 2 * ratio, 0), rtol=1e-5
    )
    share = (ratio < 1 - low).mean()
    np.testing.assert_allclose(parts["clipped"].compute(), share, rtol=1e-6)


def test_early_clipping_bounds_a_negative_and_is_ppo_elsewhere():
  old = np.log([1e-30, 1e-8, 0.3, 0.49, 0.51, 0.9])
  policy = np.full(6, math.log(0.5))
  ratio = 0.5 / np.exp(old)
  push, parts = _pushes(ecpo, policy, old, -1.0)
  alike, _ = _pushes(ppo_clip, policy, old, -1.0)
  assert alike[1] > 1e7  # What it is for
  np.testing.assert_allclose(push[:3], 1.3, rtol=1e-5)
  np.testing.assert_allclose(push[3:], alike[3:], rtol=1e-5)
  np.testing.assert_allclose(push[3:5], ratio[3:5], rtol=1e-5)
  np.testing.assert_allclose(parts["raised"].compute(), 3 / 6, rtol=1e-6)
  up, parts = _pushes(ecpo, policy, old, 1.0)
  np.testing.assert_allclose(up, _pushes(ppo_clip, policy, old, 1.0)[0])
  assert parts["raised"].compute() == 0


def test_a_push_of_gbpo_is_at_most_that_of_cross_entropy():
  shares = [1e-6, 0.2, 0.5, 0.95, 0.998]
  pi, old = np.meshgrid(shares, np.geomspace(1e-8, 1, 9))
  pi, old = pi.ravel(), old.ravel()
  down, parts = _pushes(gbpo, np.log(pi), np.log(old), -1.0)
  # d/dlog pi of -log(1 - pi), and of pi / pi_old.
  expected = np.minimum(pi / (1 - pi), pi / old)
  np.testing.assert_allclose(down, expected, rtol=1e-3)
  share = (1 - pi > old).mean()
  np.testing.assert_allclose(parts["raised"].compute(), share, rtol=1e-6)
  up, _ = _pushes(gbpo, np.log(pi), np.log(old), 1.0)
  # That of -log pi, or less where the policy has moved away already.
  np.testing.assert_allclose(up, -np.minimum(1, pi / old), rtol=1e-4)
  assert _pushes(ppo_clip, np.log(pi), np.log(old), -1.0)[0].max() > 1e7


def test_another_systems_samples_have_the_policys_own_probability():
  policy, _, advantage, where = _case()
  none = functools.partial(gbpo, old_GKM=None)
  own = _compute(
    lambda p, a: none(p, advantage=a, where=jnp.asarray(where)),
    policy,
    advantage,
  )
  given = _compute(gbpo, policy, policy, advantage, where=jnp.asarray(where))
  np.testing.assert_array_equal(own[2][0], given[2][0])
  pi = np.exp(policy)
  negative = where & (advantage < 0)
  expected = -advantage * pi / np.maximum(pi, 1 - pi) / where.sum()
  np.testing.assert_allclose(own[2][0][negative], expected[negative], rtol=1e-4)


def test_what_is_certain_or_impossible_stays_finite():
  policy = np.array([0.0, 0.0, -1e-9, -200.0, -200.0])
  old = np.array([-200.0, -1e-9, -200.0, -200.0, 0.0])
  down, _ = _pushes(gbpo, policy, old, -1.0)
  np.testing.assert_allclose(down[:3], [2**24, 1, 2**24], rtol=1e-5)
  np.testing.assert_array_equal(down[3:], 0)
  up, _ = _pushes(gbpo, policy, old, 1.0)
  np.testing.assert_allclose(up, [-1, -1, -1, -1, 0], atol=1e-6)
  for loss in (ppo_clip, ecpo):
    # e^200 is no float32: what is cut off must not ask for its gradient.
    up, _ = _pushes(loss, -1.0, -201.0, 2.0)
    assert up == 0
  for loss in (ppo_clip, ecpo, gbpo):
    nothing, parts = _pushes(loss, policy, old, 0.0)
    np.testing.assert_array_equal(nothing, 0)
    assert all(part.compute() == 0 for part in parts.values())


def test_a_constant_on_both_log_probabilities_has_no_say():
  policy, old, advantage, where = _case()
  more = {"where": jnp.asarray(where)}
  up = np.abs(advantage)
  for loss, a in ((ppo_clip, advantage), (ecpo, advantage), (gbpo, up)):
    run = jax.jit(functools.partial(loss, **more))
    value = run(policy, old, a)[0]
    moved = run(policy - np.float32(0.5), old - np.float32(0.5), a)[0]
    np.testing.assert_allclose(moved, value, rtol=1e-5)
  # A negative of gbpo is about what pi leaves to the others.
  moved = run(policy - np.float32(0.5), old - np.float32(0.5), -up)[0]
  assert abs(moved - run(policy, old, -up)[0]) > 1e-3


def test_the_kl_is_one_in_the_mean_over_what_the_policy_draws():
  rng = np.random.default_rng(0)
  p, r = rng.dirichlet(np.ones(6), 2)
  total = 0.0
  for a in range(6):
    one = [np.full((1, 1, 1), np.log(x[a]), np.float32) for x in (p, r)]
    value = float(reference_kl(*map(jnp.asarray, one))[0])
    assert value > 0
    total += p[a] * value
  np.testing.assert_allclose(total, np.sum(p * np.log(p / r)), rtol=1e-4)
  same, _, gradients = _compute(reference_kl, one[0], one[0])
  assert same == 0 and gradients[0] == 0


@pytest.mark.parametrize("name", ["ppo", "ecpo_of_samples", "gbpo", "kl"])
def test_without_a_token_loss_and_gradient_are_0(name):
  loss, _, options = _CASES[name]
  policy, old, advantage, _ = _case()
  none = jnp.zeros(_SHAPE, bool)
  nan = np.full_like(policy, np.nan)
  for given in ((policy, old, advantage), (nan, nan, nan[..., :1])):
    value, _, gradients = _compute(loss, *given, where=none, **options)
    assert value == 0
    for gradient in gradients:
      np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", ["ppo", "ecpo", "gbpo", "kl"])
def test_bfloat16_is_computed_in_float32(name):
  loss, _, options = _CASES[name]
  *arrays, where = _case()
  run = jax.jit(functools.partial(loss, where=jnp.asarray(where), **options))
  short = [jnp.asarray(x, jnp.bfloat16) for x in arrays]
  value = run(*short)[0]
  assert value.dtype == jnp.float32
  assert value == run(*(x.astype(jnp.float32) for x in short))[0]


def test_options_that_cannot_be_are_errors():
  one, ones = jnp.zeros((1, 1, 1)), jnp.zeros((1, 1, 2))
  for value in (-0.1, 1.0, math.nan):
    with pytest.raises(ValueError, match="low=.* at least 0 and below 1"):
      ppo_clip(ones, ones, one, low=value)
    with pytest.raises(ValueError, match="epsilon=.* at least 0 and below 1"):
      ecpo(ones, ones, one, epsilon=value)
  for value in (-0.1, math.inf, math.nan):
    with pytest.raises(ValueError, match="high=.* a number of 0 or more"):
      ppo_clip(ones, ones, one, high=value)
    with pytest.raises(ValueError, match="delta=.* a number of 0 or more"):
      ecpo(ones, ones, one, delta=value)
  for loss in (ppo_clip, ecpo, gbpo):
    with pytest.raises(ValueError, match=r"sample_ratio=True make them \(1, 1"):
      loss(ones, ones, ones, sample_ratio=True)
    # Types say so as well, but only where somebody checks them.
    with pytest.raises(ValueError, match="make them one shape"):
      inspect.unwrap(loss)(ones, one, one)
  with pytest.raises(ValueError, match="make them one shape"):
    inspect.unwrap(reference_kl)(ones, one)
  with pytest.raises(ValueError, match=r"advantages are \(1, 1\)"):
    inspect.unwrap(ppo_clip)(ones, ones, one[0])
