# SPDX-License-Identifier: Apache-2.0
"""Codes kept apart: the loss against a loop, groups and when they are made."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.diverse_quantizer import DiverseQuantizer, diversity

_GROUPS = {"num_groups": 3, "smallest": 2, "largest": 4}


def _layer(**options):
  return DiverseQuantizer((8, 8), 4, regroup_steps=3, **_GROUPS, **options)


def test_the_loss_of_a_code_is_a_softmax_over_all_others():
  rng = np.random.default_rng(0)
  book = rng.normal(size=(6, 3)).astype(np.float32)
  # Groups of two: which other code is drawn is certain.
  group, code = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 4, 2, 2])
  found = diversity(
    jnp.asarray(book), jnp.asarray(code), jnp.asarray(group), jax.random.key(0)
  )
  expected = []
  for c in code:
    scores = np.exp(book @ book[c])
    other = (c + 3) % 6
    total = sum(scores[k] for k in range(6) if k != c)
    expected.append(-np.log(scores[other] / total))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@functools.cache
def _state():
  layer = _layer()
  z = jax.random.normal(jax.random.key(0), (40, 4))
  where = jnp.ones(40, bool)
  params = layer.init(jax.random.key(1), z, where, train=False)["params"]
  for level in range(2):
    key = jax.random.key(2 + level)
    book = jax.random.normal(key, (8, 4)) / (level + 1)
    params[f"level_{level}"]["embedding"] = book
  return layer, params, z, where


@functools.partial(jax.jit, static_argnames="train")
def _apply(params, z, key, train=True):
  layer, _, _, where = _state()
  rngs = {"dropout": key}
  return layer.apply({"params": params}, z, where, train=train, rngs=rngs)


def _assigned(params, found):
  for path, (where, value) in found.assign.items():
    assert np.array(where).all() or path[0].startswith("level")
    if len(path) == 1:
      params = {**params, path[0]: value}
  return params


def test_groups_are_within_bounds_and_made_anew_every_so_often():
  _, params, z, _ = _state()
  seen = []
  for step in range(7):
    found = _apply(params, z, jax.random.key(step))
    params = _assigned(params, found)
    assert float(params["age"]) == step + 1
    for level in range(2):
      sizes = np.bincount(np.array(params[f"groups_{level}"], int), minlength=3)
      assert sizes.min() >= 2 and sizes.max() <= 4
    seen.append(np.array(params["groups_0"]))
    # Codes move: what is made anew differs.
    book = jax.random.normal(jax.random.key(50 + step), (8, 4))
    params = {**params, "level_0": {**params["level_0"], "embedding": book}}
  changed = [
    not np.array_equal(a, b) for a, b in zip(seen, seen[1:], strict=False)
  ]
  assert changed == [False, False, True, False, False, True]


def test_diversity_moves_codes_and_not_what_is_coded():
  _, params, z, _ = _state()

  def loss(params, z):
    return _apply(params, z, jax.random.key(0)).diversity.sum()

  by_params, by_z = jax.grad(loss, argnums=(0, 1))(params, z)
  assert (np.array(by_z) == 0).all()
  for level in range(2):
    assert np.abs(by_params[f"level_{level}"]["embedding"]).max() > 1e-3


def test_diversity_is_the_mean_over_levels():
  _, params, z, _ = _state()
  for level in range(2):
    # All products are 0: each of the 7 other codes is as near.
    book = jnp.zeros((8, 4))
    params = {
      **params,
      f"level_{level}": params[f"level_{level}"] | {"embedding": book},
    }
  found = _apply(params, z, jax.random.key(0)).diversity
  np.testing.assert_allclose(found, np.log(7), rtol=1e-6)


def test_only_training_has_the_loss_and_options_are_checked():
  _, params, z, _ = _state()
  assert _apply(params, z, jax.random.key(0), train=False).diversity is None
  with pytest.raises(ValueError, match="ema=False"):
    _layer(ema=True)
  with pytest.raises(ValueError, match="smallest=1 must be at least 2"):
    DiverseQuantizer((8,), 4, num_groups=3, smallest=1, largest=4)
  with pytest.raises(ValueError, match="quantizer.regroup_steps=0 must be at"):
    DiverseQuantizer((8,), 4, regroup_steps=0, **_GROUPS)
  with pytest.raises(ValueError, match="cannot be 10 groups of 10 to 60"):
    DiverseQuantizer((64,), 4)
