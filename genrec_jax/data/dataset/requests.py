# SPDX-License-Identifier: Apache-2.0
"""Requests: what is asked of a recommender, with or without the answer.

A request is a user's whole history before a moment, the moment, and (in an
evaluation) the item that came next. Everything that ranks answers the same
Requests: a trained model through its layout, a baseline or the simulator's true
model from the history itself.
"""

from collections.abc import Iterator, Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class Requests:
  """A batch of requests; every array has one entry per request.

  Attributes:
    user: user index; -1 for a history that belongs to no known user.
    target: item index of what came next; 0 where unknown.
    history: events before the target, whole, oldest first; where a split asks
      once for what is of one time, those before that time.
    query_time: seconds since the manifest's epoch at which is asked: the
      target's own time in an evaluation; 0 where the source has no times.
    event: position of the target in the user's record.
    key: by which a cache knows whose history each is, None = nobody's; None
      for all of them where there is no cache.
  """

  user: Int[np.ndarray, "B"]
  target: Int[np.ndarray, "B"]
  history: list[Record]
  query_time: Int[np.ndarray, "B"]
  event: Int[np.ndarray, "B"]
  key: tuple[str | None, ...] | None = None

  def __len__(self) -> int:
    return len(self.user)


def cut(record: Record, end: int) -> Record:
  """The first `end` events of a record."""
  return {
    name: value if name == "user" else value[:end]
    for name, value in record.items()
  }


def make_requests(
  rows: list[tuple[Record, int]], ends: Sequence[int] | None = None
) -> Requests:
  """Requests whose targets are event `position` of each record.

  Args:
    rows: (record, position).
    ends: events that each of them knows; None = those before its target.
  """
  records = [record for record, _ in rows]
  events = [int(position) for _, position in rows]
  pairs = list(zip(records, events, strict=True))
  ends = events if ends is None else ends
  return Requests(
    user=np.array([r["user"] for r in records], np.int32),
    target=np.array([r["item"][e] for r, e in pairs], np.int32),
    history=[cut(r, end) for r, end in zip(records, ends, strict=True)],
    query_time=np.array(
      [r["time"][e] if "time" in r else 0 for r, e in pairs], np.int32
    ),
    event=np.array(events, np.int32),
  )


def requests_for(split: Any, rows: list[tuple[Record, int]]) -> Requests:
  """Requests for targets of a split, each with the history that it says."""
  return make_requests(rows, [split.known(*row) for row in rows])


def requests_at(requests: Requests, rows: Int[np.ndarray, "n"]) -> Requests:
  """Some of the requests."""
  return Requests(
    user=requests.user[rows],
    target=requests.target[rows],
    history=[requests.history[row] for row in rows],
    query_time=requests.query_time[rows],
    event=requests.event[rows],
    key=requests.key and tuple(requests.key[row] for row in rows),
  )


def no_requests(count: int) -> Requests:
  """Requests without a history, for their shapes."""
  zeros = np.zeros(count, np.int32)
  record = {"user": np.array(0, np.int32), "item": np.zeros(0, np.int32)}
  return Requests(zeros, zeros, [record] * count, zeros, zeros)


def iter_requests(
  histories: HistorySource,
  part: str,
  batch_size: int,
  *,
  max_users: int | None = None,
  seed: int = 0,
) -> Iterator[Requests]:
  """All targets of a part, in user order, in batches.

  Args:
    histories: a prepared data set.
    part: "validation" or "test".
    batch_size: requests at a time; the last batch may be smaller.
    max_users: draw this many of the users that have a target in the part
      (seeded, without replacement; reads all histories once); None = all.
    seed: of that draw.
  """
  users = np.arange(len(histories))
  if max_users is not None and max_users < len(users):
    targets = histories.split.targets
    asked = [len(targets(histories[int(u)], part)) > 0 for u in users]
    users = users[asked]
  if max_users is not None and max_users < len(users):
    users = np.random.default_rng(seed).choice(users, max_users, replace=False)
    users.sort()
  rows: list[tuple[Record, int]] = []
  for user in users:
    record = histories[int(user)]
    for position in histories.split.targets(record, part):
      rows.append((record, int(position)))
      if len(rows) == batch_size:
        yield requests_for(histories.split, rows)
        rows = []
  if rows:
    yield requests_for(histories.split, rows)


def count_requests(histories: HistorySource, part: str) -> int:
  """How many targets a part has."""
  return sum(
    len(histories.split.targets(histories[user], part))
    for user in range(len(histories))
  )
