# SPDX-License-Identifier: Apache-2.0
"""Items as examples: every one once an epoch, partners of the training part."""

import dataclasses
import types

import numpy as np
import pytest

from genrec_jax.data.layouts.catalog import (
  CatalogRows,
  count_neighbours,
)
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.splits import LeaveOneOut
from tests.data.layouts.parts_by_hand import ArtifactsByHand

_V = 9


class _Histories:
  split = LeaveOneOut()

  def __init__(self, *items):
    self._items = items

  def __len__(self):
    return len(self._items)

  def __getitem__(self, index):
    items = np.array(self._items[index], np.int32)
    return {"user": np.array(index), "item": items}

  def __repr__(self):
    return "_Histories"


# The last two events of a user are validation and test.
_DATA = _Histories([1, 2, 1, 2, 3, 9, 8], [2, 3, 7, 6], [4, 4, 5, 9, 9])


def _artifacts(width=4):
  count = np.zeros(_V + 1, np.int64)
  for user in range(3):
    record = _DATA[user]
    items = record["item"][: _DATA.split.train_end(record)]
    np.add.at(count, items, 1)
  vectors = np.arange((_V + 1) * width, dtype=np.float32).reshape(-1, width)
  return ArtifactsByHand(
    _DATA, types.SimpleNamespace(count=count), vectors_V1D=vectors
  )


def _batches(layout, count, **options):
  iterator = training_batches(
    layout.source(_DATA),
    layout,
    batch_size=2,
    row_length=3,
    seed=0,
    **options,
  )
  return [next(iterator) for _ in range(count)]


def test_every_item_comes_once_an_epoch_with_its_vector():
  layout = CatalogRows(4, group=3).bind(_artifacts())
  batches = _batches(layout, 3)
  seen = np.concatenate([b["item_BL"].reshape(-1) for b in batches])
  assert sorted(seen.tolist()) == sorted([*range(1, 10)] * 2)
  for batch in batches:
    assert batch["vector_BLD"].dtype == np.float32
    np.testing.assert_array_equal(
      batch["vector_BLD"][..., 0], batch["item_BL"] * 4
    )
    np.testing.assert_array_equal(batch["segment_ids_BL"], [[1, 2, 3]] * 2)


def test_collaborative_vectors_come_with_their_items():
  others = np.arange((_V + 1) * 2, dtype=np.float32).reshape(-1, 2)
  known = np.arange(_V + 1) % 3 == 1
  artifacts = dataclasses.replace(_artifacts(), others=(others, known))
  layout = CatalogRows(4, min_count=1, group=3, collaborative_width=2)
  bound = layout.bind(artifacts)
  for batch in _batches(bound, 2):
    item = batch["item_BL"]
    np.testing.assert_array_equal(batch["collaborative_BLE"], others[item])
    np.testing.assert_array_equal(batch["collaborative_known_BL"], known[item])
    rows = np.zeros((*item.shape, 2), np.int32)
    shapes = layout.batch(rows, item, item)
    assert {n: x.shape for n, x in shapes.items()} == {
      n: x.shape for n, x in batch.items()
    }
  data = bound.init_data()
  assert len(data.vectors) == len(bound.items) < _V
  np.testing.assert_array_equal(data.collaborative, others[bound.items])
  np.testing.assert_array_equal(data.known, known[bound.items])
  with pytest.raises(ValueError, match="collaborative_width=3, and the"):
    CatalogRows(4, collaborative_width=3).bind(artifacts)


def test_partners_stand_beside_an_item_in_training_only():
  layout = CatalogRows(4, partners=True, group=3).bind(_artifacts())
  found = {}
  for batch in _batches(layout, 60):
    for item, partner in zip(
      batch["item_BL"].flat, batch["partner_BL"].flat, strict=True
    ):
      found.setdefault(int(item), []).append(int(partner))
    np.testing.assert_array_equal(
      batch["partner_vector_BLD"][..., 0], batch["partner_BL"] * 4
    )
  kinds = {item: set(partners) for item, partners in found.items()}
  assert kinds == {
    1: {2},
    2: {1, 3},
    3: {2},
    # Beside itself, and beside 5.
    4: {5},
    5: {4},
    **{item: {0} for item in (6, 7, 8, 9)},
  }
  # 2 stands three times beside 1 and twice beside 3.
  assert 0.45 < np.mean(np.array(found[2]) == 1) < 0.75


def test_counts_within_a_window():
  table = count_neighbours(_DATA, _V + 1, 2, np.arange(1, _V + 1)).toarray()
  # Running sums along a row: 1-2 three times, 1-3 once.
  assert table[1, [2, 3]].tolist() == [3, 4]
  assert table[4, 5] == 2 and table[5, 4] == 2


def test_items_without_training_events_can_be_left_out():
  layout = CatalogRows(4, partners=True, min_count=1, group=2).bind(
    _artifacts()
  )
  assert layout.items.tolist() == [1, 2, 3, 4, 5]
  assert layout.init_data().shape == (5, 4)
  with pytest.raises(ValueError, match="min_count=99"):
    CatalogRows(4, min_count=99).bind(_artifacts())


def test_vectors_of_another_width_are_refused():
  with pytest.raises(ValueError, match="width=5, .* have width 4"):
    CatalogRows(5).bind(_artifacts())


def test_unbound_batches_have_the_same_shapes():
  zeros = np.zeros((2, 3), np.int32)
  for partners in (False, True):
    layout = CatalogRows(4, partners=partners, group=2)
    rows = np.zeros((2, 3, layout.num_columns), np.int32)
    unbound = layout.batch(rows, zeros, zeros)
    bound = _batches(layout.bind(_artifacts()), 1)[0]
    assert {k: (v.shape, v.dtype) for k, v in unbound.items()} == {
      k: (v.shape, v.dtype) for k, v in bound.items()
    }


def test_a_restored_iterator_goes_on(tmp_path):
  layout = CatalogRows(4, partners=True, group=3).bind(_artifacts())

  def start():
    return training_batches(
      layout.source(_DATA), layout, batch_size=2, row_length=3, seed=0
    )

  first, second = start(), start()
  for _ in range(4):
    next(first)
  second.set_state(first.get_state())
  for _ in range(3):
    a, b = next(first), next(second)
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


def test_groups_of_any_size_hold_every_item_once():
  for group in (1, 2, 4, 9, 20):
    layout = CatalogRows(4, group=group).bind(_artifacts())
    source = layout.source(_DATA)
    items = [source[i]["item"] for i in range(len(source))]
    assert max(map(len, items)) <= layout.max_length
    assert sorted(np.concatenate(items).tolist()) == [*range(1, 10)]
