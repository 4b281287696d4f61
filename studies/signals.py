# SPDX-License-Identifier: Apache-2.0
"""How much one signal says of a user: a choice among all, or one click.

    choice   i ~ softmax(t_u)                             of V items
    click    y ~ Bernoulli(sigmoid(t_ui + c)),  i shown at random

Tastes t (U, V) are known products of vectors. `bits` is the mutual information
of a signal and its user, exact. `learned` is the mean rank correlation of
tastes with those that a factor model finds in equally many signals of a kind.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np
import optax

from genrec_jax.ops.factorization import pair_sum

_RANK = 4
_STEPS = 300


def tastes(
  rng: np.random.Generator, users: int = 60, items: int = 200
) -> Float[np.ndarray, "U V"]:
  """Random tastes of standard deviation 1.5."""
  left = rng.normal(size=(users, _RANK))
  right = rng.normal(size=(items, _RANK))
  return 1.5 * left @ right.T / _RANK**0.5


def _entropy(p, axis=None):
  with np.errstate(divide="ignore", invalid="ignore"):
    terms = np.where(p > 0, -p * np.log2(p), 0)
  return terms.sum(axis=axis)


def chances(
  taste_UV: Float[np.ndarray, "U V"], rate: float
) -> tuple[np.ndarray, np.ndarray]:
  """P(choice) and P(click) of every pair; clicks have a mean of `rate`."""
  choice = np.exp(taste_UV)
  choice /= choice.sum(axis=1, keepdims=True)
  low, high = -20.0, 20.0
  for _ in range(60):
    middle = (low + high) / 2
    mean = (1 / (1 + np.exp(-taste_UV - middle))).mean()
    low, high = (middle, high) if mean < rate else (low, middle)
  return choice, 1 / (1 + np.exp(-taste_UV - low))


def bits(taste_UV: Float[np.ndarray, "U V"], rate: float) -> dict[str, float]:
  """Mutual information of one signal and who gave it."""
  choice, click = chances(taste_UV, rate)
  of_choice = _entropy(choice.mean(0)) - _entropy(choice, 1).mean()

  def binary(p):
    return _entropy(np.stack([p, 1 - p]), 0)

  of_click = (binary(click.mean(0)) - binary(click).mean(0)).mean()
  return {"choice": float(of_choice), "click": float(of_click)}


def learned(
  taste_UV: Float[np.ndarray, "U V"],
  rate: float,
  signals: int,
  rng: np.random.Generator,
) -> dict[str, float]:
  """Rank correlation of found and true tastes, from `signals` of a kind."""
  choice, click = chances(taste_UV, rate)
  users, items = taste_UV.shape
  each = signals // users
  chosen = np.stack([rng.multinomial(each, p) for p in choice])
  shown = rng.multinomial(each, np.full(items, 1 / items), size=users)
  clicked = rng.binomial(shown, click)

  def of_choice(scores):
    return -jnp.sum(chosen * jax.nn.log_softmax(scores, axis=1))

  def of_click(scores):
    return jnp.sum(shown * jax.nn.softplus(scores) - clicked * scores)

  key = jax.random.key(int(rng.integers(2**31)))
  return {
    "choice": _correlation(_factors(of_choice, users, items, key), taste_UV),
    "click": _correlation(_factors(of_click, users, items, key), taste_UV),
  }


def _factors(loss: Any, users: int, items: int, key: Any) -> np.ndarray:
  """Scores (U, V) of a factorisation machine of user and item."""
  keys = jax.random.split(key, 2)
  params = {
    "user": 0.1 * jax.random.normal(keys[0], (users, _RANK)),
    "item": 0.1 * jax.random.normal(keys[1], (items, _RANK)),
    "bias": jnp.zeros((1, items)),
  }

  def scores(params):
    pairs = jnp.broadcast_to(params["user"][:, None], (users, items, _RANK))
    others = jnp.broadcast_to(params["item"][None], pairs.shape)
    products = pair_sum(jnp.stack([pairs, others], axis=-2))
    return products.sum(-1) + params["bias"]

  def objective(params):
    penalty = sum(jnp.sum(x**2) for x in jax.tree.leaves(params))
    return loss(scores(params)) + 0.5 * penalty

  optimizer = optax.adam(0.03)

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(objective)(params), state)
    return (optax.apply_updates(params, updates), state), None

  start = (params, optimizer.init(params))
  (params, _), _ = jax.lax.scan(step, start, None, length=_STEPS)
  return np.asarray(scores(params))


def _correlation(found: np.ndarray, truth: np.ndarray) -> float:
  """Spearman's, mean over users."""
  ranks = [np.argsort(np.argsort(x, axis=1), axis=1) for x in (found, truth)]
  centred = [r - r.mean(axis=1, keepdims=True) for r in ranks]
  norms = [np.sqrt((c**2).sum(axis=1)) for c in centred]
  return float(
    ((centred[0] * centred[1]).sum(1) / (norms[0] * norms[1])).mean()
  )
