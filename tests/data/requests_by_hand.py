# SPDX-License-Identifier: Apache-2.0
"""One user whose requests hold every case, as a data set of its own.

event    0 1   2 3   4   5   6 7
request  h h   1 1   2   3   4 4     h: a list without times
time     - -  10 10  20  30  40 40
"""

import types

import numpy as np

from genrec_jax.data.feedback import Feedback
from genrec_jax.data.histories import Histories

ACTIONS = ["", "skip", "click", "like", "click|like", "untimed", "like|untimed"]
FEEDBACK = Feedback(("click", "like"))
NUM_ITEMS = 12


def user_record(action=(5, 6, 2, 1, 4, 2, 1, 3)) -> dict[str, np.ndarray]:
  """The record; actions are indices of ACTIONS."""
  columns = {
    "item": [1, 2, 3, 4, 5, 6, 7, 8],
    "time": [0, 0, 10, 10, 20, 30, 40, 40],
    "action": action,
    "request": [0, 0, 1, 1, 2, 3, 4, 4],
  }
  record = {name: np.array(x, np.int32) for name, x in columns.items()}
  return {"user": np.array(0, np.int32), **record}


class OneUser(Histories):
  """The record as histories; the last request does not train."""

  manifest = types.SimpleNamespace(actions=ACTIONS)

  def __init__(self, record=None, end=6):
    self.record = user_record() if record is None else record
    self.split = types.SimpleNamespace(
      train_end=lambda _: end,
      targets=lambda record, _: np.arange(end, len(record["item"])),
    )

  def __len__(self):
    return 1

  def __getitem__(self, user):
    return self.record

  def __repr__(self):
    return "OneUser()"


def bound(layout):
  """The layout with the meaning of ACTIONS."""
  return layout.bind(types.SimpleNamespace(histories=OneUser()))
