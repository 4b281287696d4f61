# SPDX-License-Identifier: Apache-2.0
"""Requests of the training part as examples: a history and what was asked.

A user's labelled events that were shown together (data/dataset/impressions.py)
are the candidates of one example; its history is what came before the first of
them. A record of this source is the user's own with three fields more:

    asked  int32 (n,)  positions in the record of the request's labelled events
    begin  int32 ()    events before the request, the end of its history
    piece  int32 ()    0; 1, 2, ... for more events than fit into one example

Users have their last K requests as examples, oldest first, or all of them. A
request's pieces share a history: what is asked of the history itself belongs
to piece 0 alone.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.layouts.labelled_events import labelled
from genrec_jax.data.schema import Record

ASKED, BEGIN, PIECE = "asked", "begin", "piece"


@dataclasses.dataclass(frozen=True)
class _ByRecord:
  """A split that records carry themselves."""

  def train_end(self, record: Record) -> int:
    """Events of the history; the candidates follow."""
    return int(record[BEGIN])


class RequestExamples:
  """Requests of the training parts, as a source of records."""

  split = _ByRecord()

  def __init__(
    self,
    histories: HistorySource,
    feedback: BoundFeedback,
    num_candidates: int,
    last_requests: int = 0,
    since: int | None = None,
  ):
    """Finds the requests; reads all histories once.

    Args:
      histories: users.
      feedback: says which events have labels.
      num_candidates: a request of more is cut into several examples.
      last_requests: K, requests of a user; 0 = all.
      since: see `labelled`.
    """
    self._histories = histories
    self._options = (
      feedback.tasks,
      feedback.min_value,
      num_candidates,
      last_requests,
    )
    if since is not None:
      self._options += (since,)
    users, asked, pieces = [], [], []
    for user in range(len(histories)):
      record = histories[user]
      end = histories.split.train_end(record)
      # Of 0 that is all of them.
      found = requests_of(record, end, feedback, since)
      for request in found[-last_requests:]:
        starts = range(0, len(request), num_candidates)
        asked += [request[start : start + num_candidates] for start in starts]
        users += [user] * len(starts)
        pieces += range(len(starts))
    self._users = np.array(users, np.int32)
    self._pieces = np.array(pieces, np.int32)
    self._asked = np.concatenate([np.zeros(0, np.int32), *asked])
    self._first = np.cumsum([0, *map(len, asked)])

  def __len__(self) -> int:
    return len(self._users)

  def __getitem__(self, index: int) -> Record:
    """A user's record, its request's events and where the history ends."""
    if not 0 <= index < len(self):
      raise IndexError(f"{index} is out of range: {len(self)} requests.")
    record = self._histories[int(self._users[index])]
    asked = self._asked[self._first[index] : self._first[index + 1]]
    numbers = request_numbers(record)
    begin = np.flatnonzero(numbers == numbers[asked[0]])[0]
    return {
      **record,
      ASKED: asked,
      BEGIN: np.array(begin, np.int32),
      PIECE: self._pieces[index],
    }

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"RequestExamples({self._histories!r}, {self._options})"


def requests_of(
  record: Record, end: int, feedback: BoundFeedback, since: int | None = None
) -> list[Int[np.ndarray, "n"]]:
  """Labelled events among the first `end`, by request, oldest request first."""
  asked = labelled(record, feedback, end, since).astype(np.int32)
  if not len(asked):
    return []
  numbers = request_numbers(record)
  # Numbers need not grow with time, but the first event of a request does.
  _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
  begins = first[place[asked]]
  asked = asked[np.argsort(begins, kind="stable")]
  ends = np.flatnonzero(np.diff(np.sort(begins))) + 1
  return np.split(asked, ends)
