# SPDX-License-Identifier: Apache-2.0
"""Codes from the state of items: steps, causality, probabilities add up."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.data.layouts.next_item_codes import NextItemCodes
from genrec_jax.models.item_code_decoder import ItemCodeDecoder
from genrec_jax.models.item_code_vector_decoder import ItemCodeVectorDecoder
from tests.models.compiled import apply

_SIZES = (5, 7, 4)
_V, _LENGTH = 30, 6


def _layout():
  rng = np.random.default_rng(0)
  codes = np.stack([rng.integers(0, s, _V + 1) for s in _SIZES], axis=1)
  codes[0] = 0
  return NextItemCodes(_LENGTH, num_levels=3, codes=codes.astype(np.int32))


def _system(kind=ItemCodeDecoder, **changes):
  backbone = PreNormTransformer(num_layers=1, num_heads=2, ffn_width=16)
  return kind(
    num_items=_V, level_sizes=_SIZES, width=8, num_positions=_LENGTH,
    backbone=backbone, hidden_width=12, **changes,
  )  # fmt: skip


def _batch(layout, histories):
  """One user per row: each item's label is the next one; the last has none."""
  rows = np.zeros((len(histories), _LENGTH, 5), np.int32)
  segments = np.zeros(rows.shape[:2], np.int32)
  for row, items in enumerate(histories):
    rows[row, : len(items), 0] = items
    rows[row, : len(items) - 1, 1] = items[1:]
    segments[row, : len(items)] = 1
  positions = np.arange(_LENGTH)[None, :] * segments
  return jax.tree.map(jnp.asarray, layout.batch(rows, segments, positions))


@pytest.fixture(scope="module")
def case():
  layout, system = _layout(), _system()
  rng = np.random.default_rng(1)
  histories = [rng.integers(1, _V + 1, n).tolist() for n in (2, 3, 5)]
  batch = _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  return layout, system, histories, params


def test_steps_of_beams_equal_the_whole_pass(case):
  layout, system, histories, params = case
  nexts = np.random.default_rng(2).integers(1, _V + 1, (3, 4))
  cache, first_BC = apply(
    system, params, _batch(layout, histories), method="start"
  )
  codes_BKM = layout.codes[nexts]
  got = [jnp.broadcast_to(first_BC[:, None], (3, 4, _SIZES[0]))]
  order, parents_BK = np.arange(4), jnp.zeros((3, 4), jnp.int32)
  for level in (1, 2):
    cache, logits = apply(
      system, params, cache, level=level,
      codes_BK=jnp.asarray(codes_BKM[:, order, level - 1]),
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
          logits[row, len(history) - 1, level, :size],
          atol=1e-5,
        )


def test_probabilities_of_all_lists_of_codes_add_up_to_one(case):
  layout, system, histories, params = case
  total = 0.0
  lists = np.array(list(itertools.product(*map(range, _SIZES))), np.int32)
  batch = _batch(layout, [histories[1]])
  place = len(histories[1]) - 1
  rows = {name: jnp.repeat(x, len(lists), axis=0) for name, x in batch.items()}
  codes = rows["target_codes_BSM"].at[:, place].set(lists)
  rows["target_codes_BSM"] = codes
  logits = apply(system, params, rows, deterministic=True).logits[:, place]
  for level in range(len(_SIZES)):
    log_p = jax.nn.log_softmax(logits[:, level])
    total += log_p[jnp.arange(len(lists)), lists[:, level]]
  np.testing.assert_allclose(jnp.sum(jnp.exp(total)), 1, rtol=1e-5)


def test_codes_are_predicted_from_what_is_before_them_alone(case):
  layout, system, histories, params = case
  batch = _batch(layout, [histories[2]])
  base = apply(system, params, batch, deterministic=True).logits
  # Of the next item: later codes only depend on it.
  codes = batch["target_codes_BSM"].at[0, 2, 1].add(1)
  moved = apply(
    system, params, {**batch, "target_codes_BSM": codes}, deterministic=True
  ).logits
  changed = np.abs(np.asarray(moved - base))[0, :, :, 0] > 0
  assert changed[2].tolist() == [False, False, True]
  assert not np.delete(changed, 2, axis=0).any()
  # Of an item in the history: states from its place on.
  item = batch["item_BL"].at[0, 2].set(histories[2][2] % _V + 1)
  moved = apply(
    system, params, {**batch, "item_BL": item}, deterministic=True
  ).logits
  changed = np.abs(np.asarray(moved - base))[0, :5, :, 0] > 0
  assert not changed[:2].any() and changed[2:].all()


@pytest.mark.parametrize(
  ("change", "inputs"),
  [("item_inputs", "item_BL"), ("code_inputs", "codes_BLM")],
)
def test_inputs_that_are_switched_off_change_nothing(case, change, inputs):
  layout, _, histories, _ = case
  system, batch = _system(**{change: False}), _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  base = apply(system, params, batch, deterministic=True).logits
  other = {**batch, inputs: jnp.roll(batch[inputs], 1, axis=0)}
  moved = apply(system, params, other, deterministic=True).logits
  np.testing.assert_array_equal(moved, base)
  assert ("item_embedding" in params["params"]) == (change != "item_inputs")


def test_an_item_must_be_something():
  with pytest.raises(ValueError, match="nothing says what an item is"):
    _system(item_inputs=False, code_inputs=False)


def test_a_vector_is_read_of_the_state_and_leaves_codes_as_they_were(case):
  layout, plain, histories, _ = case
  system = _system(ItemCodeVectorDecoder)
  batch = _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  outputs = apply(system, params, batch, deterministic=True)
  below = {k: v for k, v in params["params"].items() if k != "vector_out"}
  codes = apply(plain, {"params": below}, batch, deterministic=True)
  np.testing.assert_array_equal(outputs.logits, codes.logits)
  state = np.asarray(codes.hidden, np.float64)
  want = state @ np.asarray(params["params"]["vector_out"]["kernel"])
  there = np.asarray(batch["segment_ids_BL"]) > 0
  want = want[there] / np.linalg.norm(want[there], axis=-1, keepdims=True)
  np.testing.assert_allclose(outputs.query[there], want, atol=1e-5)


def test_a_request_asks_with_the_vector_of_its_last_place(case):
  layout, _, histories, _ = case
  system = _system(ItemCodeVectorDecoder)
  batch = _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  whole = apply(system, params, batch, deterministic=True).query
  asked = apply(system, params, batch, method="query")
  vectors = apply(system, params, method="items")
  table = np.asarray(params["params"]["item_embedding"]["embedding"])[1:]
  norms = np.linalg.norm(table, axis=1, keepdims=True)
  np.testing.assert_allclose(vectors[1:], table / norms, atol=1e-5)
  cache, _ = apply(system, params, batch, vectors, method="start_from")
  again = apply(system, params, cache, method="history_vector")
  np.testing.assert_array_equal(again, asked)
  for row, history in enumerate(histories):
    np.testing.assert_allclose(
      asked[row], whole[row, len(history) - 1], atol=1e-5
    )


@pytest.mark.parametrize("vector_from", ["codes", "history"])
def test_vectors_of_beams_are_those_of_the_whole_pass(case, vector_from):
  layout, _, histories, _ = case
  system = _system(ItemCodeVectorDecoder, vector_from=vector_from)
  batch = _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  nexts = np.random.default_rng(3).integers(1, _V + 1, (3, 4))
  codes_BKM = jnp.asarray(layout.codes[nexts])
  cache, _ = apply(system, params, batch, method="start")
  same_BK = jnp.broadcast_to(jnp.arange(4, dtype=jnp.int32), (3, 4))
  for level in (1, 2):
    cache, _ = apply(
      system, params, cache, level=level, codes_BK=codes_BKM[..., level - 1],
      parents_BK=same_BK if level > 1 else 0 * same_BK, method="step",
    )  # fmt: skip
  # The last step turns the beams round.
  got = apply(
    system, params, cache, codes_BK=codes_BKM[:, ::-1, 2],
    parents_BK=same_BK[:, ::-1], method="beam_vectors",
  )[:, ::-1]  # fmt: skip
  for k in range(4):
    longer = [h + [n] for h, n in zip(histories, nexts[:, k], strict=True)]
    whole = apply(system, params, _batch(layout, longer), deterministic=True)
    for row, history in enumerate(histories):
      np.testing.assert_allclose(
        got[row, k], whole.query[row, len(history) - 1], atol=1e-5
      )
  moved = np.abs(np.asarray(got[:, 1:] - got[:, :1])).max()
  assert (moved > 1e-3) == (vector_from == "codes")


def test_a_history_is_not_asked_for_what_is_read_behind_codes(case):
  layout, _, histories, _ = case
  system = _system(ItemCodeVectorDecoder, vector_from="codes")
  batch = _batch(layout, histories)
  params = system.init(jax.random.key(0), batch, deterministic=True)
  cache, _ = apply(system, params, batch, method="start")
  for method, given in (("query", batch), ("history_vector", cache)):
    with pytest.raises(ValueError, match="behind its codes.*BeamFusion"):
      system.apply(params, given, method=method)
  with pytest.raises(ValueError, match="vector_from='beams' must be 'codes'"):
    _system(ItemCodeVectorDecoder, vector_from="beams")


def test_vectors_need_item_inputs():
  with pytest.raises(ValueError, match="item_inputs=False: the vectors"):
    _system(ItemCodeVectorDecoder, item_inputs=False)
