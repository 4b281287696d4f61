# SPDX-License-Identifier: Apache-2.0
"""LIGER on a causal host: what an item is stays out of its own codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.core.types import ItemData, Items
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.models.liger import Liger
from genrec_jax.objectives import CodeCrossEntropy, FullSoftmax, WeightedSum
from tests.models.compiled import apply

_SIZES = (3, 4)
_V, _LENGTH, _W = 30, 5, 6
_RNG = np.random.default_rng(0)
_CONTENT = _RNG.normal(size=(_V + 1, _W)).astype(np.float32)
_CODES = np.stack([_RNG.integers(0, s, _V + 1) for s in _SIZES], axis=1)
_LAYOUT = TokenHistory(_LENGTH, len(_SIZES), _CODES.astype(np.int32))
# Two items that no history holds.
_COUNT = np.where(np.isin(np.arange(_V + 1), [0, 9, 21]), 0, 3)


def _system():
  backbone = CausalTransformer(
    width=16, num_layers=1, num_heads=2, head_width=8, ffn_width=32,
    num_buckets=8, max_distance=12,
  )  # fmt: skip
  return Liger(
    num_items=_V,
    level_sizes=_SIZES,
    width=16,
    num_positions=_LENGTH,
    backbone=backbone,
    item_encoder=ContentMlp(_W, 8, hidden_widths=(10,)),
  )


def _batch(history):
  rows = np.zeros((1, _LENGTH, 2), np.int32)
  segments = np.zeros((1, _LENGTH), np.int32)
  rows[0, : len(history), 0] = history
  segments[0, : len(history)] = 1
  positions = np.arange(_LENGTH)[None, :] * segments
  return jax.tree.map(jnp.asarray, _LAYOUT.batch(rows, segments, positions))


@pytest.fixture(scope="module")
def params():
  system = _system()
  found = system.init(jax.random.key(0), _batch([1, 2]), deterministic=True)
  key = jax.random.key(1)
  found = system.data_init(found["params"], ItemData(_CONTENT, _COUNT), key)
  return {"params": jax.tree.map(jnp.asarray, found)}


def _outputs(params, batch):
  return apply(_system(), params, batch, deterministic=True)


def test_an_items_own_content_moves_what_follows_it_alone(params):
  batch = _batch([3, 4, 5, 6])
  before = _outputs(params, batch)
  data = params["params"]["item_content"]
  other = {**data, "content": data["content"].at[5].add(1.0)}
  after = _outputs(
    {"params": {**params["params"], "item_content": other}}, batch
  )
  for field in ("logits", "query"):
    a, b = getattr(after, field), getattr(before, field)
    np.testing.assert_array_equal(a[0, :3], b[0, :3])
    assert np.abs(a[0, 3] - b[0, 3]).max() > 1e-4


def test_the_vector_of_a_history_is_what_the_whole_pass_reads(params):
  whole = _outputs(params, _batch([3, 4, 5, 6]))
  vectors = apply(_system(), params, method="items")
  cache, _ = apply(
    _system(), params, _batch([3, 4, 5]), vectors, method="start_from"
  )
  found = apply(_system(), params, cache, method="history_vector")
  np.testing.assert_allclose(found[0], whole.query[0, 3], atol=2e-5)


def _loss(params, weights, batch, seen_only=True):
  system = _system()
  items = Items(
    _V,
    lambda ids: system.apply(params, ids, method="items"),
    seen=lambda: system.apply(params, method="seen"),
  )
  objective = WeightedSum(
    {
      "codes": CodeCrossEntropy(),
      "vector": FullSoftmax(0.07, "target_item_BS", seen_only=seen_only),
    },
    weights,
  )
  outputs = system.apply(params, batch, deterministic=True)
  return objective(outputs, batch, rng=jax.random.key(0), items=items)[0]


def test_the_dense_loss_is_over_the_items_that_were_seen(params):
  batch = _batch([3, 4, 5])
  found = _loss(params, {"codes": 0.0, "vector": 1.0}, batch)
  query = np.asarray(_outputs(params, batch).query[0], np.float64)
  vectors = np.asarray(apply(_system(), params, method="items"), np.float64)
  wanted = []
  for place, item in ((1, 4), (2, 5)):
    scores = vectors @ query[place] / 0.07
    total = np.logaddexp.reduce(scores[_COUNT > 0])
    wanted.append(total - scores[item])
  np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-4)


@pytest.mark.parametrize("seen_only", [True, False])
def test_an_unseen_item_has_no_gradient_at_all(params, seen_only):
  batch = _batch([3, 4, 5])

  def loss(content):
    data = {**params["params"]["item_content"], "content": content}
    tree = {"params": {**params["params"], "item_content": data}}
    return _loss(tree, {"codes": 1.0, "vector": 1.0}, batch, seen_only)

  # Content has no gradient; a change of it shows what the loss reads.
  content = params["params"]["item_content"]["content"]
  moved = loss(content.at[jnp.array([9, 21])].add(5.0)) - loss(content)
  assert (float(moved) == 0) == seen_only


def test_one_weight_of_0_is_the_other_loss_alone(params):
  batch = _batch([3, 4, 5])
  parts = {"codes": (1.0, 0.0), "vector": (0.0, 1.0)}
  both = _loss(params, {"codes": 1.0, "vector": 1.0}, batch)
  alone = [
    _loss(params, {"codes": a, "vector": b}, batch) for a, b in parts.values()
  ]
  np.testing.assert_allclose(both, sum(alone), rtol=1e-6)
  nothing = Items(_V, lambda ids: None)
  codes = CodeCrossEntropy()(
    _outputs(params, batch), batch, rng=jax.random.key(0), items=nothing
  )[0]
  np.testing.assert_allclose(alone[0], codes, rtol=1e-6)
