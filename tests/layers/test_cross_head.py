# SPDX-License-Identifier: Apache-2.0
"""DCN-v2 as a head: its two forms by their parts; gates that tasks share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.layers.action_heads import MMoE
from genrec_jax.layers.cross_head import CrossHead
from genrec_jax.layers.interactions import CrossNetwork
from genrec_jax.layers.mlp import Mlp

_H = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
_X = jnp.asarray(_H)


def _params(head):
  shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), _X, True))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), jnp.float32), shapes
  )


@pytest.mark.parametrize("rank", [None, 2])
def test_both_forms_are_made_of_cross_network_and_mlp(rank):
  for form in ("parallel", "stacked"):
    head = CrossHead(2, num_layers=2, widths=(5, 3), form=form, rank=rank)
    params = _params(head)
    p = jax.tree.map(np.asarray, params["params"])
    cross = CrossNetwork(2, rank).apply({"params": p["cross"]}, _X[:, :, None])
    read = cross if form == "stacked" else _H
    hidden = Mlp((5, 3)).apply({"params": p["mlp"]}, jnp.asarray(read))
    parts = [hidden] if form == "stacked" else [cross, hidden]
    out = np.concatenate(parts, axis=-1) @ p["out"]["kernel"]
    found = head.apply(params, _X.astype(jnp.bfloat16), True)
    assert found.dtype == jnp.float32
    found = head.apply(params, _X, True)
    np.testing.assert_allclose(found, out + p["out"]["bias"], atol=1e-5)


def test_one_layer_by_hand_reaches_squares():
  """z = h * (W h + b) + h beside nothing: what no linear head can say."""
  head = CrossHead(1, num_layers=1, widths=())
  params = _params(head)
  p = jax.tree.map(np.asarray, params["params"])
  inner = p["cross"]["cross_0"]
  z = _H * (_H @ inner["kernel"] + inner["bias"]) + _H
  expected = np.concatenate([z, _H], axis=-1) @ p["out"]["kernel"]
  found = head.apply(params, _X, True)
  np.testing.assert_allclose(found, expected + p["out"]["bias"], atol=1e-5)


def test_an_unknown_form_or_head_names_the_choices():
  with pytest.raises(ValueError, match=r"form='paralel'.*mean 'parallel'"):
    CrossHead(1, 1, (), form="paralel")
  with pytest.raises(ValueError, match="heads.rank=0 must be at least 1"):
    CrossHead(1, 1, (), rank=0)
  node = {"name": "layers.CrosHead", "num_tasks": 1}
  with pytest.raises(ValueError, match="no 'CrosHead'.*mean 'CrossHead'"):
    build(node, where="config.system.heads")


def test_tasks_of_a_group_share_a_gate():
  """As of a gate per task whose matrices are the same."""
  shared = MMoE(3, num_experts=2, hidden_width=4, groups=(1, 1, 0))
  params = _params(shared)
  kernel = params["params"]["gates"]["kernel"]
  assert kernel.shape == (4, 2 * 2)
  gates = jax.tree.map(
    lambda x: jnp.concatenate([x[..., 2:], x[..., 2:], x[..., :2]], axis=-1),
    params["params"]["gates"],
  )
  own = {"params": {**params["params"], "gates": gates}}
  apart = MMoE(3, num_experts=2, hidden_width=4)
  np.testing.assert_allclose(
    shared.apply(params, _X, True),
    apart.apply(own, _X, True),
    atol=1e-6,
  )
  for groups in ((0, 1), (0, 2, 2)):
    with pytest.raises(ValueError, match="groups=.* each of 3 tasks"):
      MMoE(3, 2, 4, groups=groups)


def test_features_of_any_width_fit_any_mesh():
  head = CrossHead(2, num_layers=1, widths=(16, 8), rank=3)
  x = jnp.zeros((2, 3, 13))
  shapes = jax.eval_shape(lambda: head.init(jax.random.key(0), x, True))
  placement = MeshOptions("tp", {"model": 8}).place()
  shardings = placement.shardings(
    {"heads": shapes["params"]}, head.logical_axes
  )
  specs = {
    jax.tree_util.keystr(path): any(s.spec)
    for path, s in jax.tree_util.tree_leaves_with_path(shardings)
  }
  assert {k for k, split in specs.items() if split} == {
    f"['heads']['mlp']['Dense_{i}']['kernel']" for i in (0, 1)
  }
