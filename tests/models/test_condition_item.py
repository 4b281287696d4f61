# SPDX-License-Identifier: Apache-2.0
"""Many queries behind one history are each alone; nothing looks ahead."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.core.types import Items
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.condition_item import ConditionItem
from genrec_jax.objectives.negatives import Drawn
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax
from tests.models.compiled import apply

_V, _D, _EVENTS, _Q = 9, 8, 4, 3
_PARTS, _FEATURES = (4, 3), (5, 3)
_LENGTHS = (4, 2, 0)
_BACKBONES = {
  "hstu": HSTU(
    num_layers=2,
    num_heads=2,
    key_width=4,
    value_width=4,
    num_positions=2 * _EVENTS + 1,
    attention=SiluAttention(4.0),
  ),
  "causal": CausalTransformer(
    width=_D,
    num_layers=2,
    num_heads=2,
    head_width=4,
    ffn_width=16,
    num_buckets=8,
    max_distance=7,
  ),
}
_BOTH = pytest.mark.parametrize("name", _BACKBONES)
_EACH = pytest.mark.parametrize(
  "name", ["hstu", pytest.param("causal", marks=pytest.mark.slow)]
)


@functools.cache
def _system(name, num_items=_V):
  return ConditionItem(
    num_items=num_items,
    width=_D,
    num_positions=2 * _EVENTS + 1,
    condition_rows=_PARTS,
    item_rows=_FEATURES,
    part_width=4,
    backbone=_BACKBONES[name],
  )


def _of_items(num_items=_V):
  rng = np.random.default_rng(3)
  rows = [rng.integers(0, size, num_items + 1) for size in _FEATURES]
  return np.stack(rows, axis=1).astype(np.int32)


@functools.cache
def _params(name):
  """Far from their small initial values, with the features of the items."""
  system = _system(name)
  shapes = jax.eval_shape(
    functools.partial(system.init, deterministic=True),
    jax.random.key(0),
    _histories(),
  )["params"]
  rng = np.random.default_rng(2)
  drawn = jax.tree.map(
    lambda s: jnp.asarray(0.4 * rng.normal(size=s.shape), s.dtype), shapes
  )
  return system.data_init(drawn, _of_items(), jax.random.key(0))


def _histories(seed=0):
  """Rows of 4, 2 and 0 events, two tokens each, padded behind."""
  rng = np.random.default_rng(seed)
  length = 2 * _EVENTS
  there = np.arange(length)[None] < 2 * np.array(_LENGTHS)[:, None]
  is_item = np.arange(length)[None] % 2 > 0
  times = np.cumsum(rng.integers(1, 10**5, there.shape), axis=1)
  arrays = {
    "item_BL": rng.integers(1, _V + 1, there.shape) * is_item * there,
    "condition_BLP": np.stack(
      [rng.integers(0, size, there.shape) for size in _PARTS], axis=-1
    )
    * (~is_item & there)[:, :, None],
    "time_BL": times * there,
    "query_time_BL": times * there,
    "segment_ids_BL": there,
    "positions_BL": np.arange(length)[None] * there,
  }
  arrays["label_BL"] = np.roll(arrays["item_BL"], -1, axis=1)
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


def _queries(seed=1):
  rng = np.random.default_rng(seed)
  shape = (len(_LENGTHS), _Q)
  rows = [rng.integers(0, size, shape) for size in _PARTS]
  return {
    "asked_condition_BQP": jnp.asarray(np.stack(rows, axis=-1), jnp.int32),
    "asked_time_BQ": jnp.asarray(
      rng.integers(10**6, 10**6 + 10**5, shape), jnp.int32
    ),
  }


def _appended(batch, asked, query):
  """Histories with one query as the token behind each: a row of training."""
  rows = {
    name: np.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2))
    for name, x in jax.device_get(batch).items()
  }
  for b, count in enumerate(_LENGTHS):
    place = 2 * count
    rows["condition_BLP"][b, place] = asked["asked_condition_BQP"][b, query]
    rows["positions_BL"][b, place] = place
    rows["segment_ids_BL"][b, place] = 1
    for name in ("time_BL", "query_time_BL"):
      rows[name][b, place] = asked["asked_time_BQ"][b, query]
  return rows


@_BOTH
def test_queries_behind_one_history_are_each_alone(name):
  system, params = _system(name), {"params": _params(name)}
  batch, asked = _histories(), _queries()
  found = apply(system, params, batch | asked, method="answers")
  assert found.shape == (len(_LENGTHS), _Q, _D)
  for query in range(_Q):
    rows = _appended(batch, asked, query)
    alone = apply(system, params, rows, method="query")
    np.testing.assert_allclose(found[:, query], alone, atol=1e-5)
  norms = np.linalg.norm(found, axis=-1)
  np.testing.assert_allclose(norms, 1, atol=1e-5)
  # Of users without any event too, queries find different things.
  spread = np.abs(np.diff(np.asarray(found), axis=1)).max(axis=(1, 2))
  assert (spread > 1e-3).all()


@_EACH
def test_the_order_of_queries_and_other_queries_change_nothing(name):
  system, params = _system(name), {"params": _params(name)}
  batch, asked = _histories(), _queries()
  found = apply(system, params, batch | asked, method="answers")
  order = np.array([2, 0, 1])
  turned = {k: v[:, order] for k, v in asked.items()}
  again = apply(system, params, batch | turned, method="answers")
  np.testing.assert_allclose(again, found[:, order], atol=1e-6)
  rows = asked["asked_condition_BQP"]
  changed = rows.at[:, 0, 0].set((rows[:, 0, 0] + 1) % _PARTS[0])
  other = apply(
    system,
    params,
    batch | asked | {"asked_condition_BQP": changed},
    method="answers",
  )
  np.testing.assert_array_equal(other[:, 1:], found[:, 1:])
  assert np.abs(other[:, 0] - found[:, 0]).max() > 1e-3


@_EACH
def test_a_condition_sees_neither_its_item_nor_what_follows(name):
  system, params = _system(name), {"params": _params(name)}
  batch = _histories()

  def queries(batch):
    return apply(system, params, batch, deterministic=True).query

  before = queries(batch)
  for event in range(_EVENTS - 1):
    place = 2 * event + 1
    item = batch["item_BL"][0]
    later = item[place:]
    other = item.at[place:].set(jnp.where(later > 0, 1 + later % _V, 0))
    after = queries(batch | {"item_BL": batch["item_BL"].at[0].set(other)})
    np.testing.assert_array_equal(after[0, :place], before[0, :place])
    assert np.abs(after[0, place + 1] - before[0, place + 1]).max() > 1e-3
  # A label is no input.
  np.testing.assert_array_equal(
    queries(batch | {"label_BL": batch["label_BL"] * 0}), before
  )


def _items(system, params):
  def vectors(ids):
    return system.apply({"params": params}, ids, method="items")

  return Items(_V, vectors)


@_EACH
def test_packed_rows_lose_what_padded_rows_lose(name):
  system, params = _system(name), _params(name)
  batch = jax.device_get(_histories())
  # Users 1, 0 and, of no event, 2 in one row.
  order = [(1, 2 * _LENGTHS[1]), (0, 2 * _LENGTHS[0])]
  packed = {
    k: np.concatenate([v[b, :n] for b, n in order])[None]
    for k, v in batch.items()
  }
  packed["segment_ids_BL"][0, order[0][1] :] = 2

  @functools.partial(jax.jit, static_argnums=0)
  def loss(objective, batch):
    outputs = system.apply({"params": params}, batch, deterministic=True)
    found, _ = objective(
      outputs, batch, rng=jax.random.key(0), items=_items(system, params)
    )
    return found, outputs.query

  whole, queries = loss(FullSoftmax(temperature=0.05), batch)
  joined, together = loss(FullSoftmax(temperature=0.05), packed)
  np.testing.assert_allclose(joined, whole, rtol=1e-5)
  start = 0
  for b, n in order:
    np.testing.assert_allclose(
      together[0, start : start + n], queries[b, :n], atol=1e-5
    )
    start += n


@dataclasses.dataclass(frozen=True)
class _Fixed:
  """Always the same negatives."""

  ids: tuple[int, ...]

  def draw(self, rng, positions):
    return (Drawn(jnp.array(self.ids)),)


def test_the_loss_is_info_nce_where_conditions_stand():
  """By hand: what a user takes there or later is no negative of theirs."""
  system, params = _system("hstu"), _params("hstu")
  batch, ids, tau = _histories(), (1, 2, 3, 4, 4), 0.05
  outputs = apply(system, {"params": params}, batch, deterministic=True)
  vectors = apply(system, {"params": params}, method="items")
  loss, _ = SampledSoftmax(_Fixed(ids), temperature=tau)(
    outputs,
    batch,
    rng=jax.random.key(0),
    items=Items(_V, lambda i: vectors if i is None else vectors[i]),
  )
  query, vectors = np.asarray(outputs.query, np.float64), np.asarray(vectors)
  losses = []
  for b, count in enumerate(_LENGTHS):
    taken = np.asarray(batch["item_BL"])[b, 1 : 2 * count : 2]
    for event in range(count):
      scores = vectors @ query[b, 2 * event] / tau
      negatives = [i for i in ids if i not in taken[event:]]
      all_ = [scores[taken[event]], *(scores[i] for i in negatives)]
      losses.append(np.log(np.exp(all_).sum()) - scores[taken[event]])
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-4)


def test_features_tell_items_apart_and_are_not_trained():
  system, params = _system("hstu"), _params("hstu")
  rows = _of_items()
  stored = params["item_features"]["rows"]
  np.testing.assert_array_equal(stored[: _V + 1], rows)
  assert system.constants == ("item_features/rows",)

  def first(params):
    item = jnp.array([1])
    return system.apply({"params": params}, item, method="items")[0, 0]

  grads = jax.grad(first)(params)
  assert not grads["item_features"]["rows"].any()
  assert grads["item_features"]["table"]["embedding"].any()
  with pytest.raises(ValueError, match="features of items are"):
    system.data_init(params, rows[:, :1], jax.random.key(0))


def test_a_backbone_that_keeps_no_history_is_not_asked():
  backbone = PreNormTransformer(num_layers=1, num_heads=1, ffn_width=8)
  system = _system("hstu").clone(backbone=backbone)
  with pytest.raises(ValueError, match="lacks init_cache"):
    jax.eval_shape(
      functools.partial(system.init, method="answers"),
      jax.random.key(0),
      _histories() | _queries(),
    )


# Scenes, in each of which everybody wants other things.
_SCENES, _OF_SCENE = 4, 10


def _shoppers(rng, users):
  scene = rng.integers(0, _SCENES, (users, _EVENTS))
  item = 1 + scene * _OF_SCENE + rng.integers(0, _OF_SCENE, scene.shape)
  told = np.where(rng.random(scene.shape) < 0.2, 0, 1 + scene)
  shape = (users, 2 * _EVENTS)
  batch = {
    name: np.zeros(shape, np.int32)
    for name in ("item_BL", "label_BL", "time_BL", "query_time_BL")
  }
  batch["item_BL"][:, 1::2] = batch["label_BL"][:, ::2] = item
  batch["condition_BLP"] = np.zeros((*shape, 1), np.int32)
  batch["condition_BLP"][:, ::2, 0] = told
  batch["segment_ids_BL"] = np.ones(shape, np.int32)
  places = np.arange(shape[1], dtype=np.int32)
  batch["positions_BL"] = np.tile(places, (users, 1))
  return jax.tree.map(jnp.asarray, batch)


@pytest.mark.slow
@pytest.mark.optimized
def test_the_right_condition_finds_more_than_none_and_a_wrong_one_less():
  rng, num_items = np.random.default_rng(0), _SCENES * _OF_SCENE
  system = _system("hstu", num_items).clone(
    condition_rows=(_SCENES + 1,), width=16
  )
  objective, optimizer = FullSoftmax(temperature=0.1), optax.adam(1e-2)
  batch = _shoppers(rng, 64)
  params = system.init(jax.random.key(0), batch, deterministic=True)["params"]
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, batch):
    def loss(params):
      outputs = system.apply({"params": params}, batch, deterministic=True)
      items = Items(
        num_items,
        lambda ids: system.apply({"params": params}, ids, method="items"),
      )
      return objective(outputs, batch, rng=jax.random.key(0), items=items)[0]

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  for _ in range(60):
    params, state = step(params, state, _shoppers(rng, 64))
  batch, wanted = _shoppers(rng, 400), rng.integers(0, _SCENES, 400)
  target = 1 + wanted * _OF_SCENE + rng.integers(0, _OF_SCENE, 400)
  vectors = np.asarray(system.apply({"params": params}, method="items"))
  asked = np.stack([1 + wanted, 0 * wanted, 1 + (wanted + 1) % _SCENES], axis=1)
  found = apply(
    system,
    {"params": params},
    batch
    | {
      "asked_condition_BQP": jnp.asarray(asked[:, :, None], jnp.int32),
      "asked_time_BQ": jnp.zeros(asked.shape, jnp.int32),
    },
    method="answers",
  )
  scores = np.einsum("bqd,vd->bqv", found, vectors[1:])
  best = 1 + np.argsort(-scores, axis=-1)[:, :, :_OF_SCENE]
  right, none, wrong = (best == target[:, None, None]).any(-1).mean(axis=0)
  assert right > 0.8 and right > 1.5 * none and none > wrong
