# SPDX-License-Identifier: Apache-2.0
"""InfoNCE over a batch's items against loops over them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.layers.item_content import BatchItems
from genrec_jax.objectives import (
  BatchItemSoftmax,
  PositiveAware,
  UniformPerPosition,
  UniformShared,
)
from genrec_jax.objectives.negatives import Drawn
from genrec_jax.ops.distinct import distinct_ids

_V, _D = 12, 3
_KEY = jax.random.key(0)


def _case(seed):
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(_V + 1, _D)).astype(np.float32)
  table /= np.linalg.norm(table, axis=1, keepdims=True)
  item = rng.integers(1, _V + 1, (2, 5)).astype(np.int32)
  segments = np.array([[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]], np.int32)
  item = np.where(segments > 0, item, 0)
  target = np.array([[0, 1, 1, 0, 1], [0, 1, 0, 0, 0]]) * item
  query = rng.normal(size=(2, 5, _D)).astype(np.float32)
  ids, places = distinct_ids(jnp.asarray(item))
  batch = {
    "item_BL": item,
    "segment_ids_BL": segments,
    "target_item_BS": target.astype(np.int32),
  }
  batch = jax.tree.map(jnp.asarray, batch)
  outputs = Outputs(
    query=jnp.asarray(query),
    aux={"items": BatchItems(ids, jnp.asarray(table)[ids], ids / 100, places)},
  )
  items = Items(_V, lambda i: jnp.asarray(table)[i])
  return batch, outputs, items, table, query


def _later(batch, b, s):
  """A target, and those after it in its segment."""
  target, segments = (
    np.asarray(batch[name]) for name in ("target_item_BS", "segment_ids_BL")
  )
  same = (segments[b] == segments[b, s]) & (np.arange(5) >= s)
  return {*target[b][same]} - {0}


@pytest.mark.parametrize("own_history", [True, False])
def test_the_loss_is_that_of_loops(own_history):
  batch, outputs, items, table, query = _case(0)
  objective = BatchItemSoftmax(0.5, own_history=own_history)
  loss, parts = objective(outputs, batch, rng=_KEY, items=items)
  item, segments = map(np.asarray, (batch["item_BL"], batch["segment_ids_BL"]))
  wanted = []
  for b, s in zip(*np.nonzero(batch["target_item_BS"]), strict=True):
    label = item[b, s]
    own = {*item[b][segments[b] == segments[b, s]]}
    others = {*item[item > 0]} - _later(batch, b, s)
    if not own_history:
      others -= own
    scores = [query[b, s] @ table[v] / 0.5 for v in (label, *sorted(others))]
    wanted.append(np.log(np.exp(scores).sum()) - scores[0])
  np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-5)
  assert float(parts["batch_items"].count) == len(wanted)


def test_equal_vectors_give_the_logarithm_of_their_number():
  batch, outputs, items, _, _ = _case(1)
  # One target a segment has no later one.
  first = jnp.asarray([[0, 1, 0, 0, 1], [0, 1, 0, 0, 0]])
  batch = {**batch, "target_item_BS": batch["target_item_BS"] * first}
  of_batch = outputs.aux["items"]
  ones_UD = jnp.ones_like(of_batch.vectors_UD)
  same = dataclasses.replace(of_batch, vectors_UD=ones_UD)
  outputs = Outputs(query=outputs.query, aux={"items": same})
  loss, _ = BatchItemSoftmax(0.1, own_history=True)(
    outputs, batch, rng=_KEY, items=items
  )
  count = len(np.unique(batch["item_BL"])) - 1
  np.testing.assert_allclose(loss, np.log(count), rtol=1e-5)


class _Fixed:
  """Draws what it is told."""

  def draw(self, rng, positions):
    chances = (
      jnp.zeros(_V + 1).at[jnp.array([0, 3, 7])].set(jnp.array([0.2, 0.1, 0.3]))
    )
    ids = jnp.array([3, 0, 7, 3], jnp.int32)
    return (Drawn(ids, lambda i: jnp.log(chances[i])),)


@pytest.mark.parametrize("per_event", [1, 2])
@pytest.mark.parametrize("own_history", [True, False])
def test_drawn_negatives_and_their_chances_are_those_of_loops(
  own_history, per_event
):
  batch, outputs, items, table, query = _case(2)
  objective = BatchItemSoftmax(
    0.5, own_history=own_history, negatives=_Fixed(), correct_log_q=True
  )
  of_batch = dataclasses.replace(outputs.aux["items"], per_event=per_event)
  outputs = dataclasses.replace(outputs, aux={"items": of_batch})
  loss, _ = objective(outputs, batch, rng=_KEY, items=items)
  item, segments = map(np.asarray, (batch["item_BL"], batch["segment_ids_BL"]))
  # As of a batch that has a place for every code of an item.
  events = (item > 0).sum() / per_event
  masked = 0
  wanted = []
  for b, s in zip(*np.nonzero(batch["target_item_BS"]), strict=True):
    label = item[b, s]

    def score(v, b=b, s=s):
      return query[b, s] @ table[v] / 0.5

    total = np.exp(score(label))
    own = _later(batch, b, s)
    if not own_history:
      own |= {*item[b][segments[b] == segments[b, s]]}
    masked += len((own - {label}) & {3, 7})
    for v in {*item[item > 0]} - own:
      total += np.exp(score(v)) / (1 - (1 - v / 100) ** events) / 2
    for v, q in ((3, 0.1), (7, 0.3), (3, 0.1)):
      total += (v not in own) * np.exp(score(v)) / (4 * q) / 2
    wanted.append(np.log(total) - score(label))
  assert own_history or masked
  np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-4)


def test_targets_may_have_places_of_their_own():
  batch, outputs, items, _, query = _case(0)
  loss, _ = BatchItemSoftmax(0.5)(outputs, batch, rng=_KEY, items=items)
  # The same targets from the last row's end on: (2, 5) -> (2, 4).
  moved = {**batch, "target_item_BS": np.zeros((2, 4), np.int32)}
  moved["target_segment_BS"] = np.zeros((2, 4), np.int32)
  queries = np.zeros((2, 4, _D), np.float32)
  for b in range(2):
    for n, s in enumerate(np.flatnonzero(batch["target_item_BS"][b])):
      moved["target_item_BS"][b, 3 - n] = batch["target_item_BS"][b, s]
      moved["target_segment_BS"][b, 3 - n] = batch["segment_ids_BL"][b, s]
      queries[b, 3 - n] = query[b, s]
  moved = jax.tree.map(jnp.asarray, moved)
  outputs = dataclasses.replace(outputs, query=jnp.asarray(queries))
  same, _ = BatchItemSoftmax(0.5)(outputs, moved, rng=_KEY, items=items)
  np.testing.assert_allclose(same, loss, rtol=1e-6)


def test_a_target_that_is_none_of_the_batchs_items_has_no_loss_but_nan():
  batch, outputs, items, _, _ = _case(0)
  objective = BatchItemSoftmax()
  row, place = np.argwhere(np.asarray(batch["target_item_BS"]))[0]
  targets = batch["target_item_BS"].at[row, place].set(_V + 1)
  batch = {**batch, "target_item_BS": targets}
  loss, _ = objective(outputs, batch, rng=_KEY, items=items)
  assert np.isnan(loss)
  where = jnp.ones(targets.shape, bool).at[row, place].set(False)
  loss, parts = objective(outputs, batch, rng=_KEY, items=items, where=where)
  assert np.isfinite(loss) and float(parts["batch_items"].count) > 0


def test_a_batch_without_targets_has_loss_0():
  batch, outputs, items, _, _ = _case(3)
  batch = {**batch, "target_item_BS": 0 * batch["target_item_BS"]}
  loss, _ = BatchItemSoftmax()(outputs, batch, rng=_KEY, items=items)
  assert float(loss) == 0


def test_what_it_cannot_do_is_said():
  batch, outputs, items, _, _ = _case(0)
  with pytest.raises(ValueError, match="temperature=0.0 must be above 0"):
    BatchItemSoftmax(0.0)
  with pytest.raises(ValueError, match="UniformShared"):
    BatchItemSoftmax(negatives=UniformPerPosition(4))(
      outputs, batch, rng=_KEY, items=items
    )
  with pytest.raises(ValueError, match="filters by the positive's score"):
    BatchItemSoftmax(negatives=PositiveAware(UniformShared(4)))(
      outputs, batch, rng=_KEY, items=items
    )


def test_what_layout_or_system_lack_is_said():
  batch, outputs, items, *_ = _case(0)
  for label, given, said in (
    ("label_BL", outputs, "the layout makes no 'label_BL'.*target_item_BS"),
    ("target_item_BS", Outputs(aux=outputs.aux), "gives no queries"),
    ("target_item_BS", Outputs(query=outputs.query), "models.ContentNextItem"),
  ):
    with pytest.raises(ValueError, match=said):
      BatchItemSoftmax(label=label)(given, batch, rng=_KEY, items=items)


def test_weights_of_a_layout_are_those_of_the_caller():
  batch, outputs, items, *_ = _case(2)
  weight = jnp.asarray(np.random.default_rng(0).random((2, 5)), jnp.float32)
  objective = BatchItemSoftmax(0.5)
  found = [
    objective(outputs, one, rng=_KEY, items=items, weights=given)[0]
    for one, given in ((batch | {"weight_BL": weight}, None), (batch, weight))
  ]
  plain, _ = objective(outputs, batch, rng=_KEY, items=items)
  assert float(found[0]) == float(found[1]) != float(plain)
