# SPDX-License-Identifier: Apache-2.0
"""Routing: the best by hand, what evens the load, what makes gates sparse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.routing import (
  balance_loss,
  dead_experts,
  entropy,
  expert_load,
  load_peak,
  moved_bias,
  moved_coefficient,
  relu_choice,
  relu_penalty,
  top_k_choice,
  z_loss,
)

_T, _E = 12, 5
_LOGITS = np.random.default_rng(0).normal(size=(_T, _E)).astype(np.float32)
_SCORES = jax.nn.softmax(jnp.asarray(_LOGITS))
_REAL = jnp.arange(_T) != 4


@pytest.mark.parametrize("normalized", [False, True])
def test_the_best_experts_and_their_scores(normalized):
  scores = _SCORES.at[2].set(0.2)
  experts, gates = top_k_choice(scores, _REAL, 3, normalized=normalized)
  for t in range(_T):
    if t == 4:
      assert (experts[t] == _E).all() and not gates[t].any()
      continue
    row = np.asarray(scores[t])
    best = sorted(range(_E), key=lambda e: (-row[e], e))[:3]
    assert experts[t].tolist() == best
    by = row[best].sum() if normalized else 1.0
    np.testing.assert_allclose(gates[t], row[best] / by, rtol=1e-6)


def test_bias_chooses_and_is_in_no_gate_and_no_gradient():
  bias = jnp.array([0.0, 0.0, 9.0, 0.0, -9.0])

  def total(scores, bias):
    choice = top_k_choice(scores, _REAL, 2, bias_E=bias)
    return jnp.sum(choice.gates), choice

  (_, choice), (to_scores, to_bias) = jax.value_and_grad(
    total, argnums=(0, 1), has_aux=True
  )(_SCORES, bias)
  real = np.asarray(_REAL)
  assert (choice.experts[real, 0] == 2).all() and not (
    choice.experts == 4
  ).any()
  plain = np.take_along_axis(
    np.asarray(_SCORES)[real], np.asarray(choice.experts)[real], axis=1
  )
  np.testing.assert_array_equal(choice.gates[real], plain)
  assert not to_bias.any()
  chosen = np.zeros((_T, _E + 1))
  np.put_along_axis(chosen, np.asarray(choice.experts), 1, axis=1)
  np.testing.assert_array_equal(to_scores, chosen[:, :_E])


def test_a_moving_bias_evens_the_load_of_a_skewed_router():
  key = jax.random.key(1)
  logits = jax.random.normal(key, (400, 8)) + 0.4 * jnp.arange(8.0)[None, :]
  scores, real = jax.nn.softmax(logits), jnp.ones(400, bool)

  def load(bias):
    return expert_load(top_k_choice(scores, real, 2, bias_E=bias).experts, 8)

  @jax.jit
  def run():
    def step(bias, _):
      return moved_bias(bias, load(bias), 0.001), load(bias)

    bias, loads = jax.lax.scan(step, jnp.zeros(8), length=400)
    return loads[0], load(bias)

  first, last = run()
  assert float(jnp.sum(last)) == 800
  assert float(load_peak(first)) > 2 and float(load_peak(last)) < 1.1


def test_a_bias_moves_by_one_rate_and_rests_where_there_is_nothing():
  bias = moved_bias(jnp.zeros(3), jnp.array([9.0, 5.0, 1.0]), 0.5)
  assert bias.tolist() == [-0.5, 0, 0.5]
  assert moved_bias(bias, jnp.zeros(3), 0.5).tolist() == bias.tolist()
  # The mean load is 4, of which 1/6 of 24 may fall short.
  moved = jax.jit(moved_bias, static_argnums=2)(
    jnp.zeros(6), jnp.array([5.0, 7, 4, 2, 4, 2]), 1.0
  )
  assert moved.tolist() == [-1, -1, 0, 1, 0, 1]


@pytest.mark.parametrize("count", [0, -1, 6])
def test_more_experts_than_there_are(count):
  with pytest.raises(ValueError, match=f"take {count} of 5 .*1 to 5"):
    top_k_choice(_SCORES, _REAL, count)


def test_relu_takes_what_is_above_0():
  experts, gates = relu_choice(jnp.asarray(_LOGITS), _REAL)
  open_ = (_LOGITS > 0) & np.asarray(_REAL)[:, None]
  np.testing.assert_array_equal(gates, np.where(open_, _LOGITS, 0))
  np.testing.assert_array_equal(
    experts, np.where(open_, np.arange(_E)[None], _E)
  )
  np.testing.assert_array_equal(expert_load(experts, _E), open_.sum(axis=0))


def test_a_token_may_keep_its_best_expert_open():
  logits = jnp.asarray(_LOGITS) - 2.0
  least = 0.1
  experts, gates = relu_choice(logits, _REAL, least)
  shut = (np.asarray(logits) <= 0).all(axis=1) & np.asarray(_REAL)
  assert shut.sum() > 3
  for t in np.flatnonzero(shut):
    best = int(np.argmax(logits[t]))
    assert [e for e in experts[t].tolist() if e < _E] == [best]
    assert float(gates[t, best]) == pytest.approx(
      least**2 / (2 * least - float(logits[t, best])), rel=1e-5
    )
  assert not gates[4].any()

  def gate(z):
    row = jnp.array([[-99.0, 0.0]]).at[0, 1].set(z)
    return relu_choice(row, jnp.ones(1, bool), least).gates[0, 1]

  # Value and slope go on at the bend, and a gradient opens what is nearly shut.
  around = [jax.value_and_grad(gate)(z) for z in (0.0999, 0.1001, -50.0)]
  assert float(around[0][0]) == pytest.approx(float(around[1][0]), abs=3e-4)
  assert float(around[0][1]) == pytest.approx(float(around[1][1]), rel=1e-2)
  assert float(around[2][0]) > 0 and float(around[2][1]) > 0


@pytest.mark.parametrize("by_load", [False, True])
@pytest.mark.parametrize("price", [1e-8, 100.0])
def test_the_price_brings_gates_to_their_sparsity(price, by_load):
  """Gates that would rather be open: each wants to be its own number."""
  wanted = jnp.abs(jax.random.normal(jax.random.key(2), (32, 8))) + 0.1
  real = jnp.arange(32) < 30

  def loss(logits, price):
    choice = relu_choice(logits, real)
    load = expert_load(choice.experts, 8)
    penalty = relu_penalty(
      choice.gates, load if by_load else None, jnp.float32(30), 0.75
    )
    own = jnp.sum(jnp.square(logits - wanted), where=real[:, None])
    return own + price * jnp.sum(penalty), load

  @jax.jit
  def run():
    def step(carry, _):
      logits, price = carry
      gradient, load = jax.grad(loss, has_aux=True)(logits, price)
      price = moved_coefficient(price, load, jnp.float32(30), 0.75, 1.2)
      return (logits - 0.1 * gradient, price), 1 - jnp.sum(load) / 240

    start = jnp.ones((32, 8)), jnp.float32(price)
    return jax.lax.scan(step, start, length=600)

  (_, end), sparsity = run()
  assert float(sparsity[0]) == 0
  assert abs(float(jnp.mean(sparsity[-100:])) - 0.75) < 0.04
  assert 1e-3 < float(end) < 50


def test_the_price_moves_by_its_factor_within_bounds():
  def moved(price, load, tokens):
    load = jnp.array(load)
    return float(moved_coefficient(jnp.float32(price), load, tokens, 0.5, 2.0))

  ten = jnp.float32(10)
  assert moved(1.0, [9.0, 9.0], ten) == 2.0
  assert moved(1.0, [1.0, 9.0], ten) == 1.0
  assert moved(1.0, [0.0, 9.0], ten) == 0.5
  assert moved(1.0, [0.0, 0.0], jnp.float32(0)) == 1.0
  assert moved(1e-10, [0.0, 0.0], ten) == pytest.approx(1e-10)
  assert moved(1e4, [9.0, 9.0], ten) == 1e4


def test_the_penalty_by_its_formula():
  gates = jnp.maximum(jnp.asarray(_LOGITS), 0)
  load = jnp.array([3.0, 0, 6, 1, 2])
  plain = relu_penalty(gates, None, jnp.float32(11), 0.8)
  np.testing.assert_allclose(plain, np.maximum(_LOGITS, 0).sum(axis=1))
  # load E / (K tokens), with K = E (1 - sparsity) = 1.
  factor = np.asarray(load) * 5 / (1 * 11)
  by_load = relu_penalty(gates, load, jnp.float32(11), 0.8)
  np.testing.assert_allclose(
    by_load, np.maximum(_LOGITS, 0) @ factor, rtol=1e-5
  )


def test_losses_by_hand():
  even, one = jnp.full((2, 4), 0.25), jnp.eye(4)[jnp.zeros(2, int)]
  np.testing.assert_allclose(balance_loss(even, jnp.full(4, 3.0)), 1)
  np.testing.assert_allclose(balance_loss(one, jnp.array([9.0, 0, 0, 0])), 4)
  np.testing.assert_allclose(balance_loss(even, jnp.zeros(4)), 0)
  np.testing.assert_allclose(
    z_loss(jnp.asarray(_LOGITS)),
    np.log(np.exp(np.float64(_LOGITS)).sum(axis=1)) ** 2,
    rtol=1e-5,
  )


def test_figures_of_a_load():
  load = jnp.array([6.0, 0, 3, 0, 1])
  assert float(load_peak(load)) == 3 and float(dead_experts(load)) == 2
  assert float(load_peak(jnp.zeros(5))) == 0
  scores = jnp.array(
    [[0.5, 0.5, 0, 0], [2.0, 2, 2, 2], [0, 3, 0, 0], [0.0] * 4]
  )
  np.testing.assert_allclose(entropy(scores), np.log([2, 4, 1, 1]), atol=1e-6)
  assert np.isfinite(jax.grad(lambda s: jnp.sum(entropy(s)))(scores)).all()
