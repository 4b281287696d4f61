# SPDX-License-Identifier: Apache-2.0
"""InfoNCE over a batch's items against loops over them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.layers.item_content import BatchItems
from genrec_jax.objectives import BatchItemSoftmax, UniformPerPosition
from genrec_jax.objectives.negatives import Negatives
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
    others = {*item[item > 0]} - {label}
    if not own_history:
      others -= own
    scores = [query[b, s] @ table[v] / 0.5 for v in (label, *sorted(others))]
    wanted.append(np.log(np.exp(scores).sum()) - scores[0])
  np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-5)
  assert float(parts["batch_items"].count) == len(wanted)


def test_equal_vectors_give_the_logarithm_of_their_number():
  batch, outputs, items, _, _ = _case(1)
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

  def __call__(self, rng, labels_T, where_T, num_items):
    ids = jnp.array([3, 0, 7, 3], jnp.int32)
    log_q = jnp.log(jnp.array([0.1, 0.2, 0.3, 0.1]))
    return Negatives(ids, log_q, jnp.zeros(len(labels_T)))


def test_drawn_negatives_and_their_chances_are_those_of_loops():
  batch, outputs, items, table, query = _case(2)
  objective = BatchItemSoftmax(
    0.5, own_history=True, negatives=_Fixed(), correct_log_q=True
  )
  loss, _ = objective(outputs, batch, rng=_KEY, items=items)
  item = np.asarray(batch["item_BL"])
  events = (item > 0).sum()
  wanted = []
  for b, s in zip(*np.nonzero(batch["target_item_BS"]), strict=True):
    label = item[b, s]

    def score(v, b=b, s=s):
      return query[b, s] @ table[v] / 0.5

    total = np.exp(score(label))
    for v in {*item[item > 0]} - {label}:
      total += np.exp(score(v)) / (1 - (1 - v / 100) ** events) / 2
    for v, q in ((3, 0.1), (7, 0.3), (3, 0.1)):
      total += (v != label) * np.exp(score(v)) / (4 * q) / 2
    wanted.append(np.log(total) - score(label))
  np.testing.assert_allclose(loss, np.mean(wanted), rtol=1e-4)


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
