# SPDX-License-Identifier: Apache-2.0
"""Groups of neighbours by hand, for every number of events."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.event_groups import grouped, spread


def _by_hand(count, length, size, from_newest):
  """Events of each group, None where there is none; the newest group last."""
  groups = -(-length // size)
  events = [*range(count)]
  if from_newest:
    slots = [None] * (groups * size - count) + events
  else:
    slots = events + [None] * (-count % size)
    slots = [None] * (groups * size - len(slots)) + slots
  return [slots[g * size : (g + 1) * size] for g in range(groups)]


@functools.partial(jax.jit, static_argnums=(2, 3))
def _grouped(x, where, size, from_newest):
  return grouped(x, where, size, from_newest=from_newest)


@pytest.mark.parametrize("from_newest", [True, False])
@pytest.mark.parametrize(("length", "size"), [(7, 3), (6, 3), (4, 1), (2, 5)])
def test_members_are_those_by_hand(length, size, from_newest):
  # A row for each number of events; what is not there is not 0.
  count = np.arange(length + 1)
  where = np.arange(length)[None] < count[:, None]
  x = np.arange(1, 1 + where.size * 2).reshape(*where.shape, 2) * 1.0
  found, there = _grouped(jnp.asarray(x), jnp.asarray(where), size, from_newest)
  for row in count:
    groups = _by_hand(row, length, size, from_newest)
    assert found.shape[1:] == (len(groups), size, 2)
    for g, members in enumerate(groups):
      for j, event in enumerate(members):
        assert there[row, g, j] == (event is not None)
        expected = [0, 0] if event is None else x[row, event]
        np.testing.assert_array_equal(found[row, g, j], expected)


def test_spread_groups_are_in_order_none_twice_and_all_of_few():
  length, count = 9, 4
  there = np.arange(length)[None] >= length - np.arange(length + 1)[:, None]
  index, is_one = jax.jit(lambda x: spread(x, count))(jnp.asarray(there))
  for row in range(length + 1):
    chosen = np.asarray(index[row])[np.asarray(is_one[row])]
    assert len(chosen) == min(row, count)
    assert (np.diff(chosen) > 0).all() and there[row][chosen].all()
  # The middles of four parts of eight.
  assert index[8].tolist() == [2, 4, 6, 8]
