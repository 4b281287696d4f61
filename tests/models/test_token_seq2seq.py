# SPDX-License-Identifier: Apache-2.0
"""Encoder and decoder over codes: cache, packing, causality, size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.models.token_seq2seq import TokenSeq2Seq
from tests.models.compiled import apply

_SIZES = (5, 7, 4)
_V, _ITEMS = 30, 4


def _layout(users=0, segments=3):
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, s, _V + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return TokenPrefixes(
    _ITEMS, _SIZES, users, segments, codes=codes.astype(np.int32)
  )


def _system(layout):
  backbone = EncoderDecoder(
    width=16, num_encoder_layers=2, num_decoder_layers=2, num_heads=2,
    head_width=8, ffn_width=32, num_buckets=8, max_distance=12,
  )  # fmt: skip
  return TokenSeq2Seq(
    num_items=_V,
    level_sizes=_SIZES,
    width=16,
    max_length=layout.max_length,
    backbone=backbone,
    num_user_tokens=layout.num_user_tokens,
  )


def _record(items, user=0):
  return {
    "user": np.array(user, np.int32),
    "item": np.array(items, np.int32),
  }


def _rows(layout, records, length):
  """The examples of records, packed into one row."""
  examples = [layout.example(r, len(r["item"])) for r in records]
  rows = np.zeros((1, length, 3), np.int32)
  segments = np.zeros((1, length), np.int32)
  positions = np.zeros((1, length), np.int32)
  start = 0
  for number, example in enumerate(examples):
    end = start + len(example)
    rows[0, start:end] = example
    segments[0, start:end] = number + 1
    positions[0, start:end] = np.arange(len(example))
    start = end
  batch = layout.batch(rows, segments, positions)
  return jax.tree.map(jnp.asarray, batch)


@pytest.mark.slow
@pytest.mark.parametrize("users", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_packed_histories_get_the_logits_of_each_alone(users):
  layout = _layout(users)
  system = _system(layout)
  records = [_record([1, 2, 3], 4), _record([9, 8], 5), _record([7] * 4, 6)]
  alone = [_rows(layout, [r], 16) for r in records]
  packed = _rows(layout, records, 32)
  params = system.init(jax.random.key(0), packed, deterministic=True)
  got = apply(system, params, packed, deterministic=True).logits[0]
  assert packed["target_item_BS"].tolist() == [[3, 8, 7]]
  for number, batch in enumerate(alone):
    want = apply(system, params, batch, deterministic=True).logits[0, 0]
    np.testing.assert_allclose(got[number], want, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("users", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_decoding_with_a_cache_equals_the_whole_pass(users):
  layout = _layout(users, segments=1)
  system = _system(layout)
  rng = np.random.default_rng(1)
  histories = [rng.integers(1, _V + 1, n).tolist() for n in (1, 3, 6)]
  nexts = rng.integers(1, _V + 1, (3, 2))
  records = [_record([*h, 1], user) for user, h in enumerate(histories)]
  requests = make_requests([(r, len(r["item"]) - 1) for r in records])
  batch = jax.tree.map(jnp.asarray, layout.request_batch(requests))
  params = system.init(jax.random.key(0), batch, deterministic=True)
  cache, logits_BC = apply(system, params, batch, method="start")
  got = [jnp.repeat(logits_BC[:, None], 2, axis=1)]
  parents_BK = jnp.zeros((3, 2), jnp.int32)
  codes_BKM = layout.codes[nexts]
  for level in range(1, len(_SIZES)):
    # From level 2 on the two beams change places at every step.
    order = [0, 1] if level % 2 else [1, 0]
    cache, logits = apply(
      system, params, cache, level=level,
      codes_BK=jnp.asarray(codes_BKM[:, order, level - 1]),
      parents_BK=parents_BK, method="step",
    )  # fmt: skip
    got.append(logits[:, order])
    parents_BK = jnp.broadcast_to(jnp.array([1, 0], jnp.int32), (3, 2))
  for k in range(2):
    for row, history in enumerate(histories):
      whole = _rows(layout, [_record([*history, nexts[row, k]], row)], 16)
      logits = apply(system, params, whole, deterministic=True).logits[0, 0]
      for level, size in enumerate(_SIZES):
        np.testing.assert_allclose(
          got[level][row, k], logits[level, :size], atol=2e-5
        )


@pytest.mark.slow
def test_a_logit_depends_on_the_codes_before_it_alone():
  layout = _layout(segments=1)
  system = _system(layout)
  batch = _rows(layout, [_record([1, 2, 3])], 16)
  params = system.init(jax.random.key(0), batch, deterministic=True)

  def logits(level, code):
    codes = batch["target_codes_BSM"].at[0, 0, level].set(code)
    changed = {**batch, "target_codes_BSM": codes}
    return apply(system, params, changed, deterministic=True).logits[0, 0]

  for level, size in enumerate(_SIZES):
    a, b = logits(level, 0), logits(level, size - 1)
    np.testing.assert_array_equal(a[: level + 1], b[: level + 1])
    if level + 1 < len(_SIZES):
      assert np.abs(a[level + 1] - b[level + 1]).max() > 1e-4


@pytest.mark.slow
def test_the_published_size_has_the_parameters_of_its_arithmetic():
  backbone = EncoderDecoder(
    width=128, num_encoder_layers=4, num_decoder_layers=4, num_heads=6,
    head_width=64, ffn_width=1024,
  )  # fmt: skip
  layout = TokenPrefixes(20, (256,) * 4)
  system = TokenSeq2Seq(
    num_items=1, level_sizes=(256,) * 4, width=128,
    max_length=layout.max_length, backbone=backbone,
  )  # fmt: skip
  zeros = np.zeros((1, layout.max_length), np.int32)
  batch = layout.batch(np.zeros((*zeros.shape, 3), np.int32), zeros, zeros)
  batch = jax.tree.map(jnp.asarray, batch)
  shapes = jax.eval_shape(
    lambda: system.init(jax.random.key(0), batch, deterministic=True)
  )
  # The reference counts 4,590,976 with 1,026 tokens: a pad more than ours.
  assert sum(x.size for x in jax.tree.leaves(shapes)) == 4_590_848
