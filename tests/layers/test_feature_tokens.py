# SPDX-License-Identifier: Apache-2.0
"""Tokens of features, one by one in NumPy; and groups that cannot be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.feature_tokens import (
  FeatureGroups,
  GroupTokens,
  SlicedTokens,
)

_FEATURES = ("item.id", "user.id", "item.tag", "user.age", "history.item.id")
_GROUPS = FeatureGroups(
  _FEATURES,
  (("user", ("user.*",)), ("item", ("item.*",)), ("past", ("history.*",))),
)
_D0 = 4
_rng = np.random.default_rng(0)
_X = _rng.normal(size=(2, 3, len(_FEATURES), _D0)).astype(np.float32)


def _params(module):
  shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.asarray(_X))
  return jax.tree.map(
    lambda s: _rng.normal(size=s.shape).astype(np.float32), shapes
  )


def test_groups_are_places_in_the_order_of_their_patterns():
  assert _GROUPS.columns == ((1, 3), (0, 2), (4,))
  swapped = FeatureGroups(
    _FEATURES, (("a", ("*.tag", "*.id")), ("b", ("user.age",)))
  )
  assert swapped.columns == ((2, 0, 1, 4), (3,))


def test_slices_are_equal_and_each_has_its_own_projection():
  module = SlicedTokens(_GROUPS, num_tokens=10, width=3)
  params = _params(module)
  found = jax.jit(module.apply)(params, jnp.asarray(_X))
  p = params["params"]
  order = [1, 3, 0, 2, 4]
  assert found.shape == (2, 3, 10, 3)
  for b, n in np.ndindex(2, 3):
    e = np.concatenate([_X[b, n, f] for f in order])
    for t in range(10):
      y = e[2 * t : 2 * t + 2] @ p["project"][t] + p["project_bias"][t]
      np.testing.assert_allclose(found[b, n, t], y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("whole", [True, False])
def test_a_group_is_a_token_and_so_are_all_features(whole):
  module = GroupTokens(_GROUPS, width=3, hidden_width=6, global_token=whole)
  params = _params(module)
  found = jax.jit(module.apply)(params, jnp.asarray(_X))
  p = params["params"]
  members = {"user": (1, 3), "item": (0, 2), "past": (4,)}
  members |= {"global": range(5)} if whole else {}
  assert found.shape == (2, 3, len(members), 3)
  for t, (label, places) in enumerate(members.items()):
    z = np.concatenate([_X[:, :, f] for f in places], axis=-1)
    h = z @ p[f"{label}_in"]["kernel"] + p[f"{label}_in"]["bias"]
    h = np.asarray(jax.nn.gelu(h))
    y = h @ p[f"{label}_out"]["kernel"] + p[f"{label}_out"]["bias"]
    np.testing.assert_allclose(found[:, :, t], y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
  ("groups", "words"),
  [
    ((("a", ("usr.id",)),), r"'usr.id' of group 'a' names no.*mean 'user.id'"),
    (
      (("a", ("user.*", "history.*")), ("b", ("item.*", "*.age"))),
      "'user.age' is in group 'a' and, again, in 'b'",
    ),
    ((("a", ("item.*", "*.id")),), "'item.id' is in group 'a' and, again"),
    ((("a", ("user.*",)), ("b", ("*.tag",))), "no group has item.id, history"),
    ((("a", ("*",)), ("b", ())), "group 'b' has no feature"),
    ((("a", ("user.*",)), ("a", ("item.*",))), "name each once"),
  ],
)
def test_groups_that_cannot_be(groups, words):
  with pytest.raises(ValueError, match=words):
    FeatureGroups(_FEATURES, groups)


def test_slices_that_are_not_equal_and_other_vectors():
  x = jnp.asarray(_X)
  with pytest.raises(ValueError, match="num_tokens=8 does not divide the 20"):
    SlicedTokens(_GROUPS, 8, 3).init(jax.random.key(0), x)
  with pytest.raises(ValueError, match="4 vectors come in, and .* names 5"):
    SlicedTokens(_GROUPS, 4, 3).init(jax.random.key(0), x[:, :, :4])
  with pytest.raises(ValueError, match="4 vectors come in, and .* names 5"):
    GroupTokens(_GROUPS, 4, 3).init(jax.random.key(0), x[:, :, :4])
  with pytest.raises(ValueError, match="called 'global'"):
    GroupTokens(FeatureGroups(("a",), (("global", ("a",)),)), 4, 3)
  with pytest.raises(ValueError, match="num_tokens=0"):
    SlicedTokens(_GROUPS, 0, 3)
