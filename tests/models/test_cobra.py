# SPDX-License-Identifier: Apache-2.0
"""Codes and vectors of one model: causality, cache, where vectors are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.core.types import ItemData
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.layers.item_content import ContentMlp
from genrec_jax.models.cobra import Cobra
from genrec_jax.retrieval.beam_fusion import BeamFusion
from genrec_jax.retrieval.beam_union import BeamUnion
from genrec_jax.retrieval.strategy import check_model
from tests.models.compiled import apply

_SIZES = (3, 4)
_V, _LENGTH, _W = 30, 5, 6
_RNG = np.random.default_rng(0)
_CONTENT = _RNG.normal(size=(_V + 1, _W)).astype(np.float32)


def _codes():
  codes = np.stack([_RNG.integers(0, s, _V + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return codes.astype(np.int32)


_LAYOUT = TokenHistory(_LENGTH, len(_SIZES), _codes())


def _system(num_items=_V, **options):
  backbone = CausalTransformer(
    width=16, num_layers=1, num_heads=2, head_width=8, ffn_width=32,
    num_buckets=8, max_distance=12,
  )  # fmt: skip
  return Cobra(
    num_items=num_items,
    level_sizes=_SIZES,
    width=16,
    num_positions=_LENGTH,
    backbone=backbone,
    item_encoder=ContentMlp(_W, 8, hidden_widths=(10,)),
    **options,
  )


def _batch(histories):
  """One user per row."""
  rows = np.zeros((len(histories), _LENGTH, 2), np.int32)
  segments = np.zeros(rows.shape[:2], np.int32)
  for row, items in enumerate(histories):
    rows[row, : len(items), 0] = items
    segments[row, : len(items)] = 1
  positions = np.arange(_LENGTH)[None, :] * segments
  return jax.tree.map(jnp.asarray, _LAYOUT.batch(rows, segments, positions))


def _params(system, content=_CONTENT):
  batch = _batch([[1, 2]])
  params = system.init(jax.random.key(0), batch, deterministic=True)["params"]
  key = jax.random.key(1)
  data = ItemData(content, np.ones(len(content)))
  params = system.data_init(params, data, key)
  return {"params": jax.tree.map(jnp.asarray, params)}


def _with_vector(params, item):
  """The same with another content of one item."""
  content = params["params"]["item_content"]["content"]
  return _with_content(params, jnp.asarray(content).at[item].add(1.0))


def _with_content(params, content):
  data = {"content": content, "count": jnp.ones(len(content))}
  return {"params": {**params["params"], "item_content": data}}


def _outputs(system, params, batch):
  return apply(system, params, batch, deterministic=True)


def test_a_vector_follows_the_items_own_codes_and_not_its_vector():
  system = _system()
  params = _params(system)
  history = [3, 4, 5, 6]
  before = _outputs(system, params, _batch([history]))
  batch = _batch([history])
  for level in range(len(_SIZES)):
    code = batch["codes_BLM"][0, 2, level]
    changed = {
      **batch,
      "codes_BLM": batch["codes_BLM"]
      .at[0, 2, level]
      .set((code + 1) % _SIZES[level]),
    }
    after = _outputs(system, params, changed)
    moved = np.abs(after.query - before.query).max(axis=-1)[0]
    np.testing.assert_array_equal(moved[:2], 0)
    assert moved[2] > 1e-4
    still = after.logits[0, :, : level + 1] == before.logits[0, :, : level + 1]
    assert np.asarray(still)[:3].all()
  other = _outputs(system, _with_vector(params, 5), batch)
  np.testing.assert_array_equal(other.query[0, :3], before.query[0, :3])
  np.testing.assert_array_equal(other.logits[0, :3], before.logits[0, :3])
  assert np.abs(other.query[0, 3] - before.query[0, 3]).max() > 1e-4
  assert np.abs(other.logits[0, 3] - before.logits[0, 3]).max() > 1e-4


def test_read_from_the_history_a_vector_knows_no_codes_of_its_item():
  system = _system(vector_from="history")
  params = _params(system)
  batch = _batch([[3, 4, 5, 6]])
  before = _outputs(system, params, batch)
  codes = (batch["codes_BLM"][0, 2] + 1) % jnp.array(_SIZES)
  changed = {**batch, "codes_BLM": batch["codes_BLM"].at[0, 2].set(codes)}
  after = _outputs(system, params, changed)
  np.testing.assert_array_equal(after.query[0, :3], before.query[0, :3])
  assert np.abs(after.query[0, 3] - before.query[0, 3]).max() > 1e-4


@pytest.mark.parametrize("vector_from", ["codes", "history"])
def test_a_search_reads_what_the_whole_pass_reads(vector_from):
  system = _system(vector_from=vector_from)
  params = _params(system)
  rng = np.random.default_rng(1)
  histories = [rng.integers(1, _V + 1, n).tolist() for n in (1, 2, 4)]
  nexts = rng.integers(1, _V + 1, (3, 4))  # four beams of each request
  codes_BKM = _LAYOUT.codes[nexts]
  requests = _batch(histories)
  vectors = apply(system, params, method="items")
  started = apply(system, params, requests, method="start")
  cached = apply(system, params, requests, vectors, method="start_from")
  for a, b in zip(
    jax.tree.leaves(started), jax.tree.leaves(cached), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-5)
  cache, first_BC = cached
  parents_BK = jnp.zeros((3, 4), jnp.int32)
  cache, second_BKC = apply(
    system, params, cache, level=1, codes_BK=jnp.asarray(codes_BKM[:, :, 0]),
    parents_BK=parents_BK, method="step",
  )  # fmt: skip
  # The last beam first: each goes on from its own.
  back = np.arange(4)[::-1].copy()
  vectors_BKE = apply(
    system, params, cache, jnp.asarray(codes_BKM[:, back, 1]),
    jnp.broadcast_to(jnp.asarray(back), (3, 4)), method="beam_vectors",
  )[:, back]  # fmt: skip
  for k in range(4):
    whole = _batch(
      [h + [n] for h, n in zip(histories, nexts[:, k], strict=True)]
    )
    out = _outputs(system, params, whole)
    for row, history in enumerate(histories):
      at = row, len(history)
      np.testing.assert_allclose(
        first_BC[row], out.logits[at][0, : _SIZES[0]], atol=2e-5
      )
      np.testing.assert_allclose(
        second_BKC[row, k], out.logits[at][1, : _SIZES[1]], atol=2e-5
      )
      np.testing.assert_allclose(vectors_BKE[row, k], out.query[at], atol=2e-5)


def test_users_packed_into_one_row_do_not_see_each_other():
  system = _system()
  params = _params(system)
  rows = np.zeros((1, _LENGTH, 2), np.int32)
  rows[0, :, 0] = [3, 4, 9, 8, 7]
  packed = _LAYOUT.batch(
    rows, np.array([[1, 1, 2, 2, 2]]), np.array([[0, 1, 0, 1, 2]])
  )
  packed = _outputs(system, params, jax.tree.map(jnp.asarray, packed))
  for first, items in ((0, [3, 4]), (2, [9, 8, 7])):
    alone = _outputs(system, params, _batch([items]))
    for field in ("query", "logits"):
      a, b = getattr(packed, field), getattr(alone, field)
      end = len(items)
      np.testing.assert_allclose(
        a[0, first + 1 : first + end], b[0, 1:end], atol=2e-5
      )


@pytest.mark.parametrize("fixed", [True, False])
def test_targets_teach_the_encoder_unless_they_are_fixed(fixed):
  system = _system(stop_gradient_target=fixed)
  params = _params(system)
  batch = _batch([[3, 4]])

  def through_targets(encoder):
    tree = {"params": {**params["params"], "item_encoder": encoder}}
    out = system.apply(tree, batch, deterministic=True)
    return jnp.sum(out.aux["items"].vectors_UD[:, 0])

  gradient = jax.grad(through_targets)(params["params"]["item_encoder"])
  largest = max(np.abs(x).max() for x in jax.tree.leaves(gradient))
  assert (largest == 0) == fixed


def test_a_new_item_has_its_vector_without_training():
  params = _params(_system())
  new = np.random.default_rng(5).normal(size=(1, _W)).astype(np.float32)
  larger = _system(num_items=_V + 1)
  content = np.concatenate([_CONTENT, new])
  grown = _with_content(params, jnp.asarray(content))
  vectors = apply(larger, grown, method="items")
  np.testing.assert_allclose(
    vectors[:-1], apply(_system(), params, method="items"), atol=1e-6
  )
  # As the encoder gives it, whatever catalogue asks.
  alone = _system(num_items=1)
  one = _with_content(params, jnp.concatenate([0 * new, new]))
  np.testing.assert_allclose(
    vectors[-1], apply(alone, one, method="items")[1], atol=1e-6
  )


def test_another_place_for_the_vector_is_refused():
  with pytest.raises(ValueError, match="must be 'codes' or 'history'"):
    _system(vector_from="beams")


def test_a_history_is_not_asked_for_what_is_read_behind_codes():
  system = _system()
  params = _params(system)
  cache, _ = apply(system, params, _batch([[1, 2]]), method="start")
  with pytest.raises(ValueError, match="behind its codes.*BeamFusion"):
    system.apply(params, cache, method="history_vector")
  # It is known before anything is trained.
  with pytest.raises(ValueError, match="behind its codes.*BeamFusion"):
    check_model(BeamUnion(), system)
  check_model(BeamUnion(), _system(vector_from="history"))
  check_model(BeamFusion(), system)


def test_a_batch_of_no_distinct_items_is_refused():
  with pytest.raises(ValueError, match="config.system.num_distinct=0 must be"):
    _system(num_distinct=0)
