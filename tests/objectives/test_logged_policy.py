# SPDX-License-Identifier: Apache-2.0
"""Policies on logged feedback: scalars in float64, and through a model."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.types import Items, Outputs
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from genrec_jax.objectives import (
  ECPO,
  GBPO,
  LoggedPolicy,
  PPOClip,
)
from genrec_jax.objectives.logged_policy import code_log_probabilities

_ITEMS = Items(9, lambda ids: ids)
_KEY = jax.random.key(0)
_SIZES, _M, _S = (4, 5, 3), 3, 8


def _batch():
  """Eight targets of two rows: six asked for, two of them refused."""
  rng = np.random.default_rng(2)
  codes = np.stack([rng.integers(0, s, (2, 4)) for s in _SIZES], axis=-1)
  return {
    "target_item_BS": jnp.array([[1, 2, 3, 0], [4, 5, 6, 0]]),
    "target_codes_BSM": jnp.asarray(codes, jnp.int32),
    "target_percentile_BS": jnp.array(
      [[0.9, 0.2, 1.0, -1.0], [0.5, -1.0, 0.8, -1.0]], jnp.float32
    ),
    "target_refused_BS": jnp.array([[0, 1, 1, 0], [0, 0, 0, 1]]),
  }


# Of five with a play time the best two, one of which is refused.
_ADVANTAGE = np.array([[1, -1, -1, 0], [0, 0, 0, 0]])


def _logits(seed, scale=1.0):
  shape = (2, 4, _M, max(_SIZES))
  return jnp.asarray(scale * np.random.default_rng(seed).normal(size=shape))


def _term(loss, pi, old, advantage):
  """A token's part of the loss, and d/d log pi, as the formulas say."""
  if isinstance(loss, GBPO):
    other = pi if advantage >= 0 else 1 - pi
    ratio = pi / max(old, other)
    return -ratio * advantage, -ratio * advantage
  if isinstance(loss, ECPO) and advantage < 0:
    old = max(old, pi / 1.3)
  ratio = pi / old
  if advantage > 0 and ratio > 1.2:
    return -1.2 * advantage, 0.0
  if advantage < 0 and ratio < 0.8:
    return -0.8 * advantage, 0.0
  return -ratio * advantage, -ratio * advantage


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("loss", [GBPO(), ECPO(), PPOClip()])
def test_loss_and_gradient_are_those_of_a_loop(loss, reference):
  batch = _batch()
  logits, others = _logits(3), _logits(4, 1.5)
  aux = {"reference_logits": others} if reference else None

  def of(logits):
    return LoggedPolicy(loss, top_share=0.4, negative_weight=0.5)(
      Outputs(logits=logits, aux=aux), batch, rng=_KEY, items=_ITEMS
    )

  (value, parts), gradient = jax.jit(jax.value_and_grad(of, has_aux=True))(
    logits
  )
  total, expected = 0.0, np.zeros(logits.shape)
  used = np.argwhere(_ADVANTAGE)
  x = np.asarray(logits, np.float64)
  y = np.asarray(others, np.float64)
  for b, s in used:
    advantage = _ADVANTAGE[b, s] * (0.5 if _ADVANTAGE[b, s] < 0 else 1.0)
    for m in range(_M):
      code = int(batch["target_codes_BSM"][b, s, m])
      p = np.exp(x[b, s, m]) / np.exp(x[b, s, m]).sum()
      q = np.exp(y[b, s, m]) / np.exp(y[b, s, m]).sum()
      old = q[code] if reference else p[code]
      term, push = _term(loss, p[code], old, advantage)
      total += term / _M / len(used)
      one = np.eye(max(_SIZES))[code]
      expected[b, s, m] = push * (one - p) / _M / len(used)
  np.testing.assert_allclose(value, total, rtol=1e-5, atol=1e-9)
  np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
  # What has no advantage is no part of it, to the bit.
  np.testing.assert_array_equal(np.asarray(gradient)[_ADVANTAGE == 0], 0)
  assert np.abs(np.asarray(gradient)[_ADVANTAGE == 1]).max() > 0
  np.testing.assert_allclose(parts["positives"].compute(), 1 / 6, rtol=1e-6)
  np.testing.assert_allclose(parts["negatives"].compute(), 2 / 6, rtol=1e-6)


def test_without_an_advantage_loss_and_gradient_are_0():
  batch = _batch()
  batch["target_percentile_BS"] = -jnp.ones((2, 4))
  batch["target_refused_BS"] = jnp.zeros((2, 4), jnp.int32)

  def of(logits):
    outputs = Outputs(logits=logits)
    return LoggedPolicy(GBPO())(outputs, batch, rng=_KEY, items=_ITEMS)[0]

  value, gradient = jax.jit(jax.value_and_grad(of))(_logits(3))
  assert value == 0 and not np.asarray(gradient).any()


# A model whose parameters are few enough to be moved one by one.


def _system():
  backbone = LazyDecoder(
    width=4, num_layers=1, num_heads=2, head_width=2,
    ffn=FeedForward(4, 4, 0.0), target_tokens=_M,
  )  # fmt: skip
  return TokenSeq2Seq(
    num_items=9, level_sizes=_SIZES, width=4, max_length=12, backbone=backbone
  )


def _model_batch():
  batch = _batch()
  rng = np.random.default_rng(7)
  tokens = rng.integers(0, sum(_SIZES), (2, 6)).astype(np.int32)
  return batch | {
    "token_BL": jnp.asarray(tokens),
    "segment_ids_BL": jnp.ones((2, 6), jnp.int32),
    "positions_BL": jnp.tile(jnp.arange(6, dtype=jnp.int32), (2, 1)),
    "target_segment_BS": jnp.array([[1, 1, 1, 0], [1, 1, 1, 0]], jnp.int32),
  }


def _params(batch):
  params = _system().init(_KEY, batch, deterministic=True)
  rng = np.random.default_rng(8)
  return jax.tree.map(
    lambda x: jnp.asarray(0.7 * rng.normal(size=x.shape), jnp.float32), params
  )


def _log_p(params, batch):
  logits = _system().apply(params, batch, deterministic=True).logits
  return code_log_probabilities(logits, batch["target_codes_BSM"])


def _reference(log_p):
  """Logits of which every code of the batch has this probability."""
  batch = _batch()
  width = max(_SIZES)
  one = jax.nn.one_hot(batch["target_codes_BSM"], width)
  rest = math.log(max(1 - math.exp(log_p), 1e-30) / (width - 1))
  return jnp.where(one > 0, log_p, rest)


@functools.partial(jax.jit, static_argnums=0)
def _gradient(loss, params, batch, reference):
  def of(params):
    logits = _system().apply(params, batch, deterministic=True).logits
    outputs = Outputs(logits=logits, aux={"reference_logits": reference})
    objective = LoggedPolicy(loss, top_share=0.4)
    return objective(outputs, batch, rng=_KEY, items=_ITEMS)[0]

  return jax.grad(of)(params)


def _norm(tree):
  return float(jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))))


@pytest.mark.parametrize("old", [1e-8, 0.999])
@pytest.mark.parametrize("sign", [1, -1])
def test_gbpo_by_finite_differences_through_a_model(sign, old):
  """pi_old far below and far above what it is compared with."""
  batch = _model_batch()
  batch["target_refused_BS"] = jnp.full((2, 4), int(sign < 0))
  params = _params(batch)
  gradient = _gradient(GBPO(), params, batch, _reference(math.log(old)))
  used = np.zeros((2, 4), bool)
  if sign < 0:
    used[:, :3] = True
  else:
    used[0, 0] = used[0, 2] = True
  fixed = np.exp(np.asarray(_log_p(params, batch), np.float64))
  bound = np.maximum(old, fixed if sign > 0 else 1 - fixed)
  assert ((bound > old) == (old < 0.5))[used].all()
  of = jax.jit(_log_p)

  def objective(params):
    pi = np.exp(np.asarray(of(params, batch), np.float64))
    return float((-sign * pi / bound)[used].mean())

  norm = _norm(gradient)
  step = 5e-3 / norm
  moved = (
    jax.tree.map(lambda p, g, s=s: p + s * step * g, params, gradient)
    for s in (1, -1)
  )
  up, down = map(objective, moved)
  np.testing.assert_allclose((up - down) / (2 * step), norm**2, rtol=0.01)


def test_a_tiny_old_probability_explodes_ppo_and_not_gbpo():
  batch = _model_batch()
  params = _params(batch)
  plain = _gradient(GBPO(), params, batch, _reference(math.log(0.3)))
  norms = {}
  for loss in (PPOClip(), GBPO(), ECPO()):
    gradient = _gradient(loss, params, batch, _reference(math.log(1e-8)))
    norms[type(loss)] = _norm(gradient) / _norm(plain)
  assert norms[PPOClip] > 1e6
  assert norms[GBPO] < 10 and norms[ECPO] < 10


@pytest.mark.parametrize("old", [1e-8, 1e-3, 0.5, 1.0])
def test_a_refused_target_moves_a_model_no_more_than_cross_entropy(old):
  """Of one target and one level, the gradients are parallel."""
  batch = _model_batch()
  only = jnp.zeros((2, 4), jnp.int32).at[0, 1].set(1)
  batch |= {"target_item_BS": only, "target_refused_BS": only}
  params = _params(batch)

  def cross_entropy(params, level):
    log_p = _log_p(params, batch)[0, 1, level]
    return -jnp.log1p(-jnp.exp(log_p)) / _M

  bound = sum(
    _norm(jax.jit(jax.grad(cross_entropy), static_argnums=1)(params, m))
    for m in range(_M)
  )
  found = _norm(_gradient(GBPO(), params, batch, _reference(math.log(old))))
  assert 0 < found <= bound * (1 + 1e-5)


def test_what_cannot_be_is_an_error():
  for options, message in (
    ({"top_share": 0.0}, "top_share=0.0 must be above 0"),
    ({"top_share": 1.5}, "top_share=1.5 must be above 0 and at most 1"),
    ({"negative_weight": -1.0}, "negative_weight=-1.0 must be"),
  ):
    with pytest.raises(ValueError, match=message):
      LoggedPolicy(GBPO(), **options)
  batch = _batch()
  del batch["target_percentile_BS"]
  with pytest.raises(ValueError, match="set config.pipeline.layout.watched"):
    LoggedPolicy(GBPO())(
      Outputs(logits=_logits(3)), batch, rng=_KEY, items=_ITEMS
    )
