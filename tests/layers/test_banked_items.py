# SPDX-License-Identifier: Apache-2.0
"""Items of a batch, encoded or remembered: values, gradients and writes.

The encoder is a matrix and an item's content says which row is its own, so that
a gradient tells which items were learned from.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import ItemData
from genrec_jax.layers.banked_items import BankedItems
from genrec_jax.layers.item_content import ContentMlp, with_data
from genrec_jax.layers.memory_bank import MemoryBank
from genrec_jax.layers.row_sampling import RowSampling

_V, _D = 10, 4
_WITHOUT = 7  # an item without content
_IDS = jnp.array([[3, 5, 3, 0], [9, 2, _WITHOUT, 5]], jnp.int32)
_ITEMS = [2, 3, 5, 9]
_WEIGHTS = np.random.default_rng(5).normal(size=(*_IDS.shape, _D))
_BANK, _ALL = MemoryBank(), RowSampling()
_SAMPLED = RowSampling(forward=0.5, backward=0.25)


@functools.cache
def _module(memory=_BANK, sampling=_ALL, **options):
  encoder = ContentMlp(content_width=_V, width=_D, hidden_widths=())
  return BankedItems(_V, encoder, memory=memory, sampling=sampling, **options)


@functools.cache
def _params(module, remembered=()):
  """Parameters; of some items the bank remembers random vectors."""
  params = module.init(jax.random.key(0), _IDS, deterministic=True)["params"]
  content = np.concatenate([np.zeros((1, _V)), np.eye(_V)]).astype(np.float32)
  content[_WITHOUT] = 0
  data = ItemData(content, np.arange(_V + 1))
  params["item_content"] = with_data(params["item_content"], data)
  if module.memory is not None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(_V + 1, _D)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    there = np.isin(np.arange(_V + 1), remembered)
    params["bank"] = {
      "vectors": vectors * there[:, None],
      "written": there.astype(np.int32),
      "clock": np.int32(3),
    }
  return jax.tree.map(jnp.asarray, params)


@functools.partial(jax.jit, static_argnums=0, static_argnames="deterministic")
def _call(module, params, key=None, deterministic=False):
  rngs = {} if deterministic else {"dropout": key}
  found = module.apply(
    {"params": params}, _IDS, deterministic=deterministic, rngs=rngs
  )
  return found.vectors, found.known, dict(found.assign), dict(found.figures)


@functools.partial(jax.jit, static_argnums=0)
def _gradient(module, params, key):
  """Of a weighted sum of the vectors, by the encoder's matrix and the rest."""

  def loss(trained):
    vectors = module.apply(
      {"params": {**params, **trained}},
      _IDS,
      deterministic=False,
      rngs={"dropout": key},
    ).vectors
    return jnp.sum(jnp.asarray(_WEIGHTS, jnp.float32) * vectors)

  trained = {name: params[name] for name in ("encoder", "unknown")}
  return jax.value_and_grad(loss)(trained)


def _encoded(params):
  """The unit vector of every item, by hand."""
  own = params["encoder"]["output"]
  x = np.asarray(own["kernel"], np.float64) + np.asarray(own["bias"])
  return np.concatenate(
    [np.zeros((1, _D)), x / np.linalg.norm(x, axis=1, keepdims=True)]
  )


def _learned_from(gradient):
  rows = np.asarray(gradient["encoder"]["output"]["kernel"])
  return {item for item in range(1, _V + 1) if rows[item - 1].any()}


def test_all_rows_are_the_plain_ones_with_their_gradients():
  plain = _module()
  params, key = _params(plain), jax.random.key(1)
  vectors, known, _, _ = _call(plain, params, key)
  wanted = _encoded(params)
  np.testing.assert_array_equal(known, np.isin(_IDS, _ITEMS))
  np.testing.assert_allclose(
    vectors[known], wanted[np.asarray(_IDS)[known]], rtol=1e-5, atol=1e-6
  )
  # The way of the sampled ones, with nothing left out.
  every = _module(sampling=RowSampling(popular_count=1_000))
  assert not every.sampling.everything
  again, known_again, assign, _ = _call(every, params, key)
  np.testing.assert_allclose(again, vectors, rtol=1e-6, atol=1e-7)
  np.testing.assert_array_equal(known_again, known)
  _, _, assigned, _ = _call(plain, params, key)
  for path, (_, value) in assigned.items():
    np.testing.assert_allclose(assign[path][1], value, rtol=1e-6, atol=1e-7)
  one, other = (_gradient(m, params, key) for m in (plain, every))
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  assert _learned_from(one[1]) == set(_ITEMS)


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_are_not_drawn_have_no_gradient_and_are_remembered(seed):
  remembered = (2, 5, 9, 10)
  module = _module(sampling=_SAMPLED)
  params, key = _params(module, remembered), jax.random.key(seed)
  vectors, known, assign, _ = _call(module, params, key)
  fresh, bank = _encoded(params), np.asarray(params["bank"]["vectors"])
  vectors, ids = np.asarray(vectors), np.asarray(_IDS)
  drawn = {
    item
    for item in _ITEMS
    if np.allclose(vectors[ids == item], fresh[item], atol=1e-6)
  }
  # Two of four; the one that nothing is remembered of is among them.
  assert len(drawn) == 2 and 3 in drawn
  for item in set(_ITEMS) - drawn:
    np.testing.assert_array_equal(
      vectors[ids == item], np.tile(bank[item], (np.sum(ids == item), 1))
    )
  np.testing.assert_array_equal(known, np.isin(ids, _ITEMS))
  _, gradient = _gradient(module, params, key)
  learned = _learned_from(gradient)
  assert len(learned) == 1 and learned <= drawn
  # What is written: what was drawn, and no bit of another row.
  after = np.asarray(assign["bank", "vectors"][1])
  for item in range(_V + 1):
    if item in drawn:
      np.testing.assert_allclose(after[item], fresh[item], rtol=1e-5, atol=1e-6)
    else:
      np.testing.assert_array_equal(after[item], bank[item])
  written = np.asarray(assign["bank", "written"][1])
  assert {int(i) for i in np.flatnonzero(written == 4)} == drawn
  assert int(assign["bank", "clock"][1]) == 4


@pytest.mark.slow
def test_nothing_is_learned_from_where_nothing_may_be():
  module = _module(sampling=RowSampling(backward=0.0))
  params = _params(module)
  _, gradient = _gradient(module, params, jax.random.key(0))
  assert not _learned_from(gradient)
  vectors, known, _, _ = _call(module, params, jax.random.key(0))
  np.testing.assert_allclose(
    vectors[known], _encoded(params)[np.asarray(_IDS)[known]], atol=1e-6
  )


def test_an_item_without_content_is_unknown_and_never_written():
  module = _module()
  params = _params(module)
  vectors, known, assign, figures = _call(module, params, jax.random.key(0))
  ids = np.asarray(_IDS)
  for nothing in (0, _WITHOUT):
    np.testing.assert_array_equal(
      vectors[ids == nothing], params["unknown"][None]
    )
    assert not known[ids == nothing].any()
    assert assign["bank", "written"][1][nothing] == 0
  assert float(figures["encoded"].compute()) == 1
  assert float(figures["encoded"].count) == len(_ITEMS)


def test_a_history_is_read_after_the_write_without_a_gradient():
  module = _module(sampling=_SAMPLED)
  params = _params(module, (2, 5, 9, 10))
  asked = jnp.array([[2, 3, 5, 9, 10, 1, 0]], jnp.int32)

  def read(module, ids):
    found = module(_IDS, deterministic=False)
    history, known = module.history(ids, found.bank, deterministic=False)
    return found, history, known

  @jax.jit
  def of(params):
    found, history, known = module.apply(
      {"params": params},
      asked,
      method=read,
      rngs={"dropout": jax.random.key(0)},
    )
    return jnp.sum(history**2), (found.vectors, found.assign, history, known)

  trained = {name: params[name] for name in ("encoder", "unknown")}
  (_, (_, assign, history, known)), gradient = jax.value_and_grad(
    lambda part: of({**params, **part}), has_aux=True
  )(trained)
  after = np.asarray(assign["bank", "vectors"][1])
  there = [2, 3, 5, 9, 10]
  np.testing.assert_array_equal(known, [[*[True] * 5, False, False]])
  np.testing.assert_array_equal(history[0, :5], after[there])
  np.testing.assert_array_equal(
    history[0, 5:], np.tile(params["unknown"], (2, 1))
  )
  assert not _learned_from(gradient)
  assert not np.asarray(gradient["encoder"]["output"]["bias"]).any()
  assert np.asarray(gradient["unknown"]).any()


def test_without_training_items_are_encoded_or_read_and_nothing_is_written():
  params = _params(_module(), (2, 9))
  vectors, known, assign, figures = _call(_module(), params, deterministic=True)
  assert not assign and not figures
  np.testing.assert_allclose(
    vectors[known], _encoded(params)[np.asarray(_IDS)[known]], atol=1e-6
  )
  stored = _module(live=False)
  assert jax.tree.structure(_params(stored)) == jax.tree.structure(params)
  vectors, known, assign, _ = _call(stored, params, deterministic=True)
  np.testing.assert_array_equal(known, np.isin(_IDS, (2, 9)))
  np.testing.assert_array_equal(
    vectors[known], params["bank"]["vectors"][np.asarray(_IDS)[known]]
  )
  assert not assign


def test_old_vectors_are_not_read():
  params = _params(_module(), (2, 3, 5, 9))  # written at 1, and it is 3
  for max_age, there in ((1, False), (2, True)):
    module = _module(memory=MemoryBank(max_age=max_age), live=False)
    _, known, _, _ = _call(module, params, deterministic=True)
    assert bool(known[0, 0]) == there


def test_figures_are_those_of_a_loop():
  params = _params(_module(), (2, 9))
  *_, figures = _call(_module(), params, jax.random.key(0))
  fresh, bank = _encoded(params), np.asarray(params["bank"]["vectors"])
  cosines = [fresh[i] @ bank[i] for i in (2, 9)]
  wanted = {
    "coverage": 2 / 4,
    "encoded": 1,
    "age": 3,  # written at 1, read at 4
    "staleness": 1 - np.mean(cosines),
  }
  for name, value in wanted.items():
    assert math.isclose(float(figures[name].compute()), value, abs_tol=1e-5)


def test_more_items_than_there_is_room_for_are_no_numbers():
  module = _module(num_distinct=4)
  params = _params(module)
  vectors, _, _, _ = _call(module, params, jax.random.key(0))
  assert np.isnan(vectors).any()
  vectors, _, _, _ = _call(module, params, deterministic=True)
  assert np.isfinite(vectors).all()
