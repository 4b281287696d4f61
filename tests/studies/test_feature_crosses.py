# SPDX-License-Identifier: Apache-2.0
"""Clicks that no feature explains alone, and a model that cannot cross any."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from studies import feature_crosses
from studies.simulated_clicks import Crossed


def test_every_feature_alone_leaves_a_click_even_and_pairs_do_not():
  """By enumeration of all values, a mean of true chances."""
  world = Crossed(values=6, seed=3)
  names = ("user", "item", "hour", "past")
  values = np.array(list(itertools.product(range(6), repeat=4)))
  logit = world.logit(dict(zip(names, values.T, strict=True)))
  chance = (1 / (1 + np.exp(-logit))).reshape(6, 6, 6, 6)
  for axis in range(4):
    others = tuple(a for a in range(4) if a != axis)
    np.testing.assert_allclose(chance.mean(axis=others), 0.5, atol=1e-12)
  by_pair = chance.mean(axis=(2, 3))
  assert by_pair.min() < 0.3 and by_pair.max() > 0.7


def test_clicks_are_drawn_by_their_logit():
  clicks = Crossed(values=2)(np.random.default_rng(0), 40_000)
  past = clicks.history["item"][:, 0]
  logit = Crossed(values=2).logit({**clicks.features, "past": past})
  for level in np.unique(logit):
    rate = clicks.click[logit == level].mean()
    assert rate == pytest.approx(1 / (1 + np.exp(-level)), abs=0.03)
  assert 0.8 < feature_crosses.best(0) < 0.9


def _crossing(arm):
  """Of user and item: f(u, i) + f(u', i') - f(u, i') - f(u', i)."""
  model = feature_crosses.stack(arm)
  rng = np.random.default_rng(0)
  x_FD = rng.normal(size=(4, 8))
  rows = np.tile(x_FD, (2, 2, 1, 1))
  rows[1, :, 0] = rng.normal(size=8)
  rows[:, 1, 1] = rng.normal(size=8)
  rows = jnp.asarray(rows, jnp.float32)
  params = jax.jit(model.init)(jax.random.key(0), rows)
  out = np.asarray(jax.jit(model.apply)(params, rows), np.float64)
  return np.abs(out[0, 0] + out[1, 1] - out[0, 1] - out[1, 0]).max()


def test_tokens_that_never_meet_make_a_sum():
  assert _crossing("none") < 1e-6
  assert _crossing("mixing") > 1e-2


def test_close_and_far_need_intervals_on_the_right_sides():
  aucs = {
    "none": [0.5, 0.51, 0.5],
    "mixing": [0.84, 0.841, 0.839],
    "attention": [0.842, 0.841, 0.84],
  }
  found = feature_crosses.claims(aucs)
  assert [row["verdict"] for row in found.values()] == ["holds", "holds"]
  assert found["130 close to attention"]["auc"]["mixing"] == 0.84
  worse = {**aucs, "attention": [0.86, 0.861, 0.862]}
  found = feature_crosses.claims(worse)
  assert found["130 close to attention"]["verdict"] == "not supported"
  one = feature_crosses.claims({arm: v[:1] for arm, v in aucs.items()})
  assert {row["verdict"] for row in one.values()} == {"none: one seed"}
