# SPDX-License-Identifier: Apache-2.0
"""Item-kNN over time: each answer is that of a data set that ended before."""

import types

import numpy as np
import pytest

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.item_knn_in_time import ItemKNNInTime
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.splits import TimeCut

_V, _END = 8, 80


class _InMemory(Histories):
  """Histories that a test writes down."""

  def __init__(self, records, end=_END):
    self.records = records
    self.split = TimeCut(end, end + 10)
    self.manifest = types.SimpleNamespace(num_items=_V)

  def __len__(self):
    return len(self.records)

  def __getitem__(self, user):
    return self.records[user]


def _records(seed=0):
  rng = np.random.default_rng(seed)
  return [
    {
      "user": np.array(user, np.int32),
      "item": rng.integers(1, _V + 1, 12).astype(np.int32),
      "time": np.sort(rng.integers(0, 100, 12)).astype(np.int32),
    }
    for user in range(9)
  ]


def test_answers_are_those_of_what_had_happened():
  records = _records()
  found = ItemKNNInTime.build(_InMemory(records), snapshots=4, window=3)
  assert len(found.cuts) > 2 and found.cuts[-1] <= _END
  rows = [(r, e) for r in records for e in range(1, 12)]
  requests = make_requests(rows)
  ids, scores, _ = found.search(requests, 5)
  untils = found.until(requests)
  answered = 0
  for row, asked in enumerate(requests.query_time.tolist()):
    cuts = [cut for cut in found.cuts.tolist() if cut <= asked]
    if not cuts:
      assert not ids[row].any() and untils[row] < -(2**30)
      continue
    # The events themselves are gone, and not only the split.
    short = [
      {n: x if n == "user" else x[r["time"] < cuts[-1]] for n, x in r.items()}
      for r in records
    ]
    alone = ItemKNN.build(_InMemory(short), window=3)
    wanted, score, _ = alone.search(make_requests([rows[row]]), 5)
    np.testing.assert_array_equal(ids[row], np.where(score > 0, wanted, 0)[0])
    before = [t for r in records for t in r["time"] if t < min(cuts[-1], _END)]
    assert untils[row] == max(before) < asked
    answered += bool(ids[row].any())
  assert answered > 50


def test_what_comes_later_changes_no_answer():
  records, edited = _records(), _records()
  for record in edited:
    later = record["time"] >= 40
    record["item"] = np.where(later, record["item"] % _V + 1, record["item"])
  one, two = (
    ItemKNNInTime.build(_InMemory(x), snapshots=5) for x in (records, edited)
  )
  rows = [(r, e) for r in records for e in range(1, 12) if r["time"][e] < 40]
  requests = make_requests(rows)
  np.testing.assert_array_equal(
    one.search(requests, 5)[0], two.search(requests, 5)[0]
  )


def test_masks_hide_and_bad_input_is_refused():
  records = _records()
  found = ItemKNNInTime.build(_InMemory(records), snapshots=2)
  requests = make_requests([(records[0], 11), (records[1], 11)])
  best = found.search(requests, 1)[0][:, 0]
  mask = ItemMask.all_but([best[:1], best[1:]], _V)
  hidden = found.search(requests, _V, mask)[0]
  assert best[0] not in hidden[0] and best[1] not in hidden[1]
  with pytest.raises(ValueError, match="snapshots=0 must be at least 1"):
    ItemKNNInTime.build(_InMemory(records), snapshots=0)
  untimed = [{k: v for k, v in r.items() if k != "time"} for r in records]
  data = _InMemory(untimed)
  with pytest.raises(ValueError, match="map a timestamp column"):
    ItemKNNInTime.build(data)
  with pytest.raises(ValueError, match="nothing is similar"):
    ItemKNNInTime.build(_InMemory(records, end=-1))
