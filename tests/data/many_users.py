# SPDX-License-Identifier: Apache-2.0
"""A log of several users in memory, as a data set of its own."""

import types

import numpy as np

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories

ACTIONS = ["", "skip", "click", "like", "click|like", "skip|later:click"]
FEEDBACK = Feedback(("click", "like"))


class ManyUsers(Histories):
  """Columns of a log, user by user in order of time; it trains before `end`."""

  manifest = types.SimpleNamespace(actions=ACTIONS)

  def __init__(self, users, columns, end):
    """Takes the log apart.

    Args:
      users: how many there are.
      columns: user, item, time and action of the events, in any order.
      end: time from which events do not train.
    """
    columns = {k: np.asarray(v, np.int32) for k, v in columns.items()}
    order = np.argsort(columns["time"], kind="stable")
    self._records = []
    for user in range(users):
      mine = order[columns["user"][order] == user]
      record = {k: v[mine] for k, v in columns.items()}
      self._records.append({**record, "user": np.array(user, np.int32)})
    self.split = types.SimpleNamespace(
      train_end=lambda record: int(np.searchsorted(record["time"], end))
    )

  def __len__(self):
    return len(self._records)

  def __getitem__(self, user):
    return self._records[user]


def random_log(rng, count=80, users=6, items=5, moments=20):
  """Events of few users, items and moments: each meets each, often at once."""
  return {
    "user": rng.integers(0, users, count),
    "item": rng.integers(1, items + 1, count),
    "time": rng.integers(0, moments, count),
    "action": rng.integers(0, len(ACTIONS), count),
  }
