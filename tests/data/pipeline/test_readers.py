# SPDX-License-Identifier: Apache-2.0
"""Readers: the global batch is one, however many processes share it."""

import numpy as np
import pytest

from genrec_jax.data.pipeline.readers import Readers


class _Counter:
  """Rows of reader r are r * 100 + their number since the start."""

  def __init__(self, reader, rows):
    self._start, self._rows, self._place = reader * 100, rows, 0

  def __next__(self):
    first = self._start + self._place
    self._place += self._rows
    return {"x": np.arange(first, first + self._rows)[:, None]}

  def get_state(self):
    return {"place": self._place}

  def set_state(self, state):
    self._place = state["place"]

  def close(self):
    pass


def _open(count, rows=None, size=8):
  return Readers(
    lambda reader: _Counter(reader, size // count),
    count=count,
    batch_size=size,
    rows=rows,
  )


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_any_number_of_processes_has_the_same_global_batches(count, processes):
  whole = _open(count)
  rows = np.arange(8).reshape(processes, -1)
  parts = [_open(count, mine) for mine in rows]
  for step in range(4):
    expected = next(whole)["x"]
    got = np.concatenate([next(part)["x"] for part in parts])
    np.testing.assert_array_equal(got, expected)
    if step == 1:
      # Saved by all, restored by another number of processes.
      state = {k: v for part in parts for k, v in part.get_state().items()}
      assert state == whole.get_state()
      rows = np.arange(8).reshape(8 // processes, -1)
      parts = [_open(count, mine) for mine in rows]
      for part in parts:
        part.set_state(state)


def test_rows_need_not_lie_together():
  rows = np.array([1, 2, 7])
  np.testing.assert_array_equal(
    next(_open(2, rows))["x"][:, 0], next(_open(2))["x"][rows, 0]
  )


def test_a_process_opens_only_the_readers_it_needs():
  assert _open(4, np.arange(4)).get_state().keys() == {"0", "1"}


@pytest.mark.parametrize("count", [0, 3])
def test_readers_that_cannot_share_the_batch(count):
  with pytest.raises(ValueError, match=f"config.pipeline.readers={count}"):
    Readers(lambda r: None, count=count, batch_size=8)
