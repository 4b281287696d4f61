# SPDX-License-Identifier: Apache-2.0
"""A reward of lists: a loop over items, any order, what is not there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.models.list_reward import ListReward
from genrec_jax.objectives.list_labels import ListCrossEntropy
from tests.models.compiled import apply

_SYSTEM = ListReward(num_items=9, width=4, max_length=5, num_heads=2,
                     hidden_width=3, embedding_init_std=1.0)  # fmt: skip


def _batch(histories, lists):
  length = 5
  items = np.zeros((len(histories), length), np.int32)
  for row, history in enumerate(histories):
    items[row, : len(history)] = history
  lists = np.array(lists, np.int32)
  return {
    "item_BL": jnp.asarray(items),
    "segment_ids_BL": jnp.asarray((items > 0).astype(np.int32)),
    "list_item_BNJ": jnp.asarray(lists),
    "label_BN": jnp.zeros(lists.shape[:2], jnp.int32).at[:, 0].set(1),
    "labelled_BN": jnp.asarray((lists[:, :, 0] > 0).astype(np.int32)),
  }


_BATCH = _batch(
  [[1, 2, 3], [4], []],
  [[[5, 6, 7], [1, 8, 0]], [[9, 4, 2], [3, 0, 0]], [[1, 2, 3], [0, 0, 0]]],
)


@functools.cache
def _params():
  init = functools.partial(_SYSTEM.init, deterministic=True)
  params = jax.jit(init)(jax.random.key(0), _BATCH)
  # Biases and scales that are not what they start as.
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  return jax.tree.unflatten(
    tree,
    [
      x + 0.3 * jax.random.normal(k, x.shape)
      for x, k in zip(leaves, keys, strict=True)
    ],
  )


def _reward(batch):
  """Logits, which the reward of given lists says in another way."""
  logits = apply(_SYSTEM, _params(), batch, deterministic=True).logits
  lists = batch["list_item_BNJ"]
  found = apply(_SYSTEM, _params(), batch, lists, method="reward")
  np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-5)
  return np.asarray(logits)


def _softmax(x):
  e = np.exp(x - x.max())
  return e / e.sum()


def _by_hand(history, items):
  p = jax.tree.map(np.float64, jax.device_get(_params()["params"]))
  table, seen = p["table"], []

  def dense(name, x):
    return x @ p[name]["kernel"] + p[name].get("bias", 0)

  def norm(name, x):
    return x / np.sqrt(np.mean(x * x) + 1e-6) * p[name]["scale"]

  for item in items:
    v = table[item]
    u = np.zeros(4)
    if history:
      scores = [dense("query", v) @ dense("key", table[h]) / 2 for h in history]
      weights = _softmax(np.array(scores))
      u = sum(
        w * dense("value", table[h])
        for w, h in zip(weights, history, strict=True)
      )
    seen.append(v * u + v)
  total = np.zeros(4)
  for e in seen:
    y = np.zeros(4)
    for head in (slice(0, 2), slice(2, 4)):
      q = dense("item_query", norm("norm", e))[head]
      keys = [dense("item_key", norm("norm", x))[head] for x in seen]
      weights = _softmax(np.array([q @ k for k in keys]) / np.sqrt(2))
      values = [dense("item_value", norm("norm", x))[head] for x in seen]
      y[head] = sum(w * v for w, v in zip(weights, values, strict=True))
    total += e + dense("item_out", y)
  h = dense("hidden", norm("last_norm", total))
  return dense("logit", h / (1 + np.exp(-h)))[0]


def test_a_reward_is_a_loop_over_items():
  found = _reward(_BATCH)
  for row, history in enumerate(([1, 2, 3], [4], [])):
    for n, items in enumerate(np.asarray(_BATCH["list_item_BNJ"])[row]):
      items = [i for i in items.tolist() if i]
      if items:
        assert found[row, n] == pytest.approx(
          _by_hand(history, items), abs=1e-4
        )


def test_any_order_has_the_same_reward_and_other_items_another():
  history = [[1, 2, 3]] * 6
  orders = [[5, 6, 7], [5, 7, 6], [6, 5, 7], [6, 7, 5], [7, 5, 6], [7, 6, 5]]
  found = _reward(_batch(history, [[o, [5, 6, 8]] for o in orders]))
  np.testing.assert_allclose(found[:, 0], found[0, 0], atol=1e-5)
  assert abs(found[0, 0] - found[0, 1]) > 1e-3
  # Nor does it matter in which order the history was.
  other = _reward(_batch([[3, 1, 2]], [[orders[0], [5, 6, 8]]]))
  np.testing.assert_allclose(other[0], found[0], atol=1e-5)
  # Lists beside one another do not meet.
  alone = _reward(_batch([[1, 2, 3]], [[orders[0]]]))
  np.testing.assert_allclose(alone[0], found[0, :1], atol=1e-5)


def test_the_loss_is_the_mean_of_lists_that_are_there():
  logits = jnp.array([[1.0, -2.0], [0.5, 3.0], [-0.7, jnp.nan]])

  def loss(logits):
    return ListCrossEntropy()(
      Outputs(logits=logits),
      _BATCH,
      rng=jax.random.key(0),
      items=Items(9, lambda ids: ids),
    )

  total, parts = loss(logits)
  p = [1 / (1 + np.exp(-z)) for z in (1.0, -2.0, 0.5, 3.0, -0.7)]
  right = [p[0], 1 - p[1], p[2], 1 - p[3], p[4]]
  assert float(total) == pytest.approx(-np.mean(np.log(right)), rel=1e-6)
  assert float(parts["followed"].compute()) == pytest.approx(0.8 / 3)
  assert float(parts["others"].compute()) == pytest.approx(0.5)
  gradient = jax.grad(lambda z: loss(z)[0])(logits)
  assert gradient[2, 1] == 0 and np.isfinite(gradient).all()
  none = {**_BATCH, "labelled_BN": jnp.zeros((3, 2), jnp.int32)}
  empty, _ = ListCrossEntropy()(
    Outputs(logits=logits),
    none,
    rng=jax.random.key(0),
    items=Items(9, lambda ids: ids),
  )
  assert empty == 0
