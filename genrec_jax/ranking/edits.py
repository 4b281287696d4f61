# SPDX-License-Identifier: Apache-2.0
"""Records with an event more, one less, or another action.

A record (data/schema.py) is copied, never written to. An event that is added
is a request of its own, whatever its time: the record then has request numbers,
those that stood for them where it had none. Where it was shown nobody knows.
"""

import numpy as np

from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.schema import Record
from genrec_jax.ranking.actions import Fields


def appended(record: Record, item: int, time: int, fields: Fields) -> Record:
  """The record with one event more.

  Args:
    record: of a user.
    item: its index.
    time: seconds since the manifest's epoch; not before the last event.
    fields: of the action (ranking/actions.py).
  """
  # Times tell requests apart only while no event is added at the last one's.
  numbers = request_numbers(record)
  values = {
    "item": item,
    "time": time,
    "action": fields.get("action", 0),
    "value": fields.get("value", np.nan),
    "request": int(numbers.max()) + 1 if len(numbers) else 0,
    "scene": 0,
  }

  def longer(name, array):
    return np.append(array, np.asarray(values[name], array.dtype))

  return _each({**record, "request": numbers}, longer)


def removed(record: Record, event: int) -> Record:
  """The record without an event, by its place from 0."""
  return _each(record, lambda _, array: np.delete(array, event))


def replaced(record: Record, event: int, fields: Fields) -> Record:
  """The record where something else came of an event, by its place from 0."""

  def other(name, array):
    if name not in fields:
      return array
    array = array.copy()
    array[event] = fields[name]
    return array

  return _each(record, other)


def _each(record: Record, change) -> Record:
  return {
    name: array if name == "user" else change(name, array)
    for name, array in record.items()
  }
