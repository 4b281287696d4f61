# SPDX-License-Identifier: Apache-2.0
"""The labelled events of the training part as examples, each event once.

A user of n labelled events gives ceil(n / size) records: the user's own, with
"first", the number of the first labelled event that the example is about. The
whole record comes along, because an event's history reaches back beyond the
example.
"""

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.schema import Record

FIRST = "first"


def labelled(
  record: Record, feedback: BoundFeedback, end: int, since: int | None = None
) -> Int[np.ndarray, "n"]:
  """Positions of the events before `end` that can be asked about.

  Args:
    record: a user's.
    feedback: says which events have labels.
    end: events of the training part.
    since: seconds since the data set's epoch; of requests that were made
      before it nothing is asked about. None = of all there is.
  """
  asked = feedback.asked(record)[:end]
  if since is not None:
    numbers = request_numbers(record)
    _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
    asked = asked & (record["time"][first[place[:end]]] >= since)
  return np.flatnonzero(asked)


class LabelledEvents:
  """The labelled events of all training parts, `size` of a user a record."""

  def __init__(
    self,
    histories: HistorySource,
    feedback: BoundFeedback,
    size: int,
    since: int | None = None,
  ):
    """Counts the labelled events of every user; reads all histories once."""
    self._histories, self._size = histories, size
    self._options = (feedback.tasks, feedback.min_value, size)
    if since is not None:
      self._options += (since,)
    self.split = histories.split
    counts = [
      len(labelled(record, feedback, histories.split.train_end(record), since))
      for record in (histories[user] for user in range(len(histories)))
    ]
    self._start = np.cumsum([0, *(-(-count // size) for count in counts)])

  def __len__(self) -> int:
    return int(self._start[-1])

  def __getitem__(self, index: int) -> Record:
    """A user's record and the first of its labelled events to take."""
    if not 0 <= index < len(self):
      raise IndexError(f"{index} is out of range: {len(self)} examples.")
    user = int(np.searchsorted(self._start, index, side="right")) - 1
    first = (index - int(self._start[user])) * self._size
    return {**self._histories[user], FIRST: np.array(first, np.int32)}

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"LabelledEvents({self._histories!r}, {self._options})"
