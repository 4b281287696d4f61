# SPDX-License-Identifier: Apache-2.0
"""Codes of items by one causal Transformer: cache, causality, packing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.models.token_decoder import TokenDecoder
from tests.models.compiled import apply

_SIZES = (5, 7, 4)
_V, _LENGTH = 30, 6


def _codes(rng):
  codes = np.stack([rng.integers(0, s, _V + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return codes.astype(np.int32)


def _layout(max_length=_LENGTH):
  rng = np.random.default_rng(0)
  return TokenHistory(max_length, len(_SIZES), _codes(rng))


def _system(tied=True):
  backbone = CausalTransformer(
    width=16, num_layers=2, num_heads=2, head_width=8, ffn_width=32,
    num_buckets=8, max_distance=12,
  )  # fmt: skip
  return TokenDecoder(
    num_items=_V,
    level_sizes=_SIZES,
    width=16,
    num_positions=_LENGTH,
    backbone=backbone,
    tied=tied,
  )


def _batch(layout, histories):
  """One user per row."""
  rows = np.zeros((len(histories), layout.max_length, 2), np.int32)
  segments = np.zeros(rows.shape[:2], np.int32)
  for row, items in enumerate(histories):
    rows[row, : len(items), 0] = items
    segments[row, : len(items)] = 1
  positions = np.arange(layout.max_length)[None, :] * segments
  return jax.tree.map(jnp.asarray, layout.batch(rows, segments, positions))


def _params(system, batch):
  return system.init(jax.random.key(0), batch, deterministic=True)


@pytest.mark.slow
@pytest.mark.parametrize(
  "tied", [pytest.param(True, marks=pytest.mark.slow), False]
)
def test_decoding_with_a_cache_equals_the_whole_pass(tied):
  rng = np.random.default_rng(1)
  layout, system = _layout(), _system(tied)
  histories = [rng.integers(1, _V + 1, n).tolist() for n in (1, 3, 5)]
  nexts = rng.integers(1, _V + 1, (3, 4))  # four beams of each request
  requests = _batch(layout, histories)
  params = _params(system, requests)

  cache, first_BC = apply(system, params, requests, method="start")
  codes_BKM = layout.codes[nexts]
  got = [jnp.broadcast_to(first_BC[:, None], (3, 4, _SIZES[0]))]
  # Beams come from one state, and then from one another in turn.
  parents_BK = jnp.zeros((3, 4), jnp.int32)
  order = np.arange(4)
  for level in range(1, len(_SIZES)):
    codes_BK = jnp.asarray(codes_BKM[:, order, level - 1])
    cache, logits = apply(
      system, params, cache, level=level, codes_BK=codes_BK,
      parents_BK=parents_BK, method="step",
    )  # fmt: skip
    got.append(logits[:, np.argsort(order)])
    before, order = order, np.roll(order, 1)
    where = [int(np.flatnonzero(before == k)[0]) for k in order]
    parents_BK = jnp.broadcast_to(jnp.array(where, jnp.int32), (3, 4))

  for k in range(4):
    whole = _batch(
      layout, [h + [n] for h, n in zip(histories, nexts[:, k], strict=True)]
    )
    logits = apply(system, params, whole, deterministic=True).logits
    for row, history in enumerate(histories):
      for level, size in enumerate(_SIZES):
        np.testing.assert_allclose(
          got[level][row, k],
          logits[row, len(history), level, :size],
          atol=2e-5,
        )


@pytest.mark.slow
def test_users_packed_into_one_row_do_not_see_each_other():
  layout, system = _layout(), _system()
  alone = [_batch(layout, [items]) for items in ([3, 4], [9, 8, 7])]
  rows = np.zeros((1, _LENGTH, 2), np.int32)
  rows[0, :5, 0] = [3, 4, 9, 8, 7]
  packed = layout.batch(
    rows, np.array([[1, 1, 2, 2, 2, 0]]), np.array([[0, 1, 0, 1, 2, 0]])
  )
  params = _params(system, alone[0])
  logits = [
    apply(
      system, params, jax.tree.map(jnp.asarray, b), deterministic=True
    ).logits
    for b in (*alone, packed)
  ]
  np.testing.assert_allclose(logits[2][0, 1], logits[0][0, 1], atol=2e-5)
  np.testing.assert_allclose(logits[2][0, 3:5], logits[1][0, 1:3], atol=2e-5)


@pytest.mark.slow
def test_logits_depend_on_earlier_tokens_alone():
  layout, system = _layout(), _system()
  batch = _batch(layout, [[3, 4, 5, 6, 7, 8]])
  params = _params(system, batch)
  # By differences: a change of item j leaves all logits of items <= j as they
  # were, but for the codes after the changed one within j itself.
  before = apply(system, params, batch, deterministic=True).logits
  for j in range(_LENGTH):
    codes_BLM = batch["codes_BLM"]
    other = (codes_BLM[0, j, 1] + 1) % _SIZES[1]
    changed = {**batch, "codes_BLM": codes_BLM.at[0, j, 1].set(other)}
    after = apply(system, params, changed, deterministic=True).logits
    np.testing.assert_array_equal(after[0, :j], before[0, :j])
    np.testing.assert_array_equal(after[0, j, :2], before[0, j, :2])
    assert np.abs(after[0, j, 2] - before[0, j, 2])[: _SIZES[2]].max() > 1e-4
