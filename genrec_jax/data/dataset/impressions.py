# SPDX-License-Identifier: Apache-2.0
"""Impressions: what a ranker is asked, and what the user did.

A request is a user's history before a moment and the items shown at it, up to
N of them side by side; events of one user with one `request` number (without
that field one time, without times each alone) were shown together. None of
them is in the history: what a user did with an item must not be told to its
neighbours, whose labels it may give away. Events without a label or a time are
history and never candidates. Everything that scores answers the same
Impressions.

    candidates, labels, known, event (B, N)     one row per request

What a user looked for may be an event of the request: one with the action
"query", of an item whose text is the query, and "unasked".
"""

from collections.abc import Iterator, Sequence
import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.action_text import QUERY, words
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import cut
from genrec_jax.data.schema import Record

PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Impressions:
  """A batch of requests with their candidates.

  Attributes:
    user: user index; -1 for a history that belongs to no known user.
    history: events before the request, whole, oldest first.
    query_time: seconds since the manifest's epoch at which the request was
      made (of its first event); 0 where the source has no times.
    candidates: item ids; 0 = padding, which comes last.
    labels: bit masks of the tasks (data/dataset/feedback.py); 0 where unknown.
    known: whether a candidate has labels.
    event: position of each candidate in the user's record; -1 at padding.
    until: seconds since the epoch before which events are known, those of
      other users as well; None = query_time. Less where histories are frozen.
    query: item whose text the request looked for; 0 = it has none. None
      makes zeros.
  """

  user: Int[np.ndarray, "B"]
  history: list[Record]
  query_time: Int[np.ndarray, "B"]
  candidates: Int[np.ndarray, "B N"]
  labels: Int[np.ndarray, "B N"]
  known: Bool[np.ndarray, "B N"]
  event: Int[np.ndarray, "B N"]
  until: Int[np.ndarray, "B"] | None = None
  query: Int[np.ndarray, "B"] | None = None

  def __post_init__(self):
    if self.query is None:
      object.__setattr__(self, "query", np.zeros(len(self.user), np.int32))

  @property
  def known_until(self) -> Int[np.ndarray, "B"]:
    """`until`, or when it was asked."""
    return self.query_time if self.until is None else self.until

  def __len__(self) -> int:
    return len(self.user)

  def padded(self, count: int) -> "Impressions":
    """The same with rows that ask nothing, up to `count`.

    Raises:
      ValueError: more requests than that.
    """
    missing = count - len(self)
    if missing < 0:
      raise ValueError(
        f"{len(self)} requests do not fit a batch of {count}; give fewer at a"
        " time."
      )
    more = no_impressions(missing, self.candidates.shape[1])
    apart = ("history", "until")
    names = [f.name for f in dataclasses.fields(self) if f.name not in apart]
    arrays = {
      name: np.concatenate([getattr(self, name), getattr(more, name)])
      for name in names
    }
    until = np.concatenate([self.known_until, more.known_until])
    history = [*self.history, *more.history]
    return Impressions(history=history, until=until, **arrays)


def request_numbers(record: Record) -> Int[np.ndarray, "L"]:
  """Which request of the user every event belongs to, 0, 1, ..."""
  if "request" in record:
    return record["request"]
  if "time" in record:
    return np.unique(record["time"], return_inverse=True)[1].astype(np.int32)
  return np.arange(len(record["item"]), dtype=np.int32)


def query_actions(actions: Sequence[str]) -> tuple[bool, ...]:
  """Which actions say that an event's item is what the user looked for."""
  return tuple(QUERY in words(action) for action in actions)


def request_queries(
  record: Record, asks: Sequence[bool]
) -> Int[np.ndarray, "L"]:
  """Of every event, the item of its request's query; 0 = it has none.

  Args:
    record: a user's events.
    asks: of query_actions.
  """
  if not any(asks) or not len(record["item"]):
    return np.zeros(len(record["item"]), np.int32)
  is_query = np.array(asks)[record["action"]]
  numbers = request_numbers(record)
  by_number = np.zeros(int(numbers.max()) + 1, np.int32)
  by_number[numbers[is_query]] = record["item"][is_query]
  return by_number[numbers]


@dataclasses.dataclass(frozen=True)
class _Request:
  """One row of Impressions: a record, where it is asked, its candidates, how
  many events of the record are known then, and the item of its query."""

  record: Record
  end: int
  events: Int[np.ndarray, "n"]
  known: int
  query: int


def _positions(
  histories: Histories, record: Record, part: str
) -> Int[np.ndarray, "n"]:
  if part == "train":
    return np.arange(histories.split.train_end(record))
  return histories.split.targets(record, part)


def _requests(
  histories: Histories,
  record: Record,
  part: str,
  feedback: BoundFeedback,
  num_candidates: int,
  frozen: bool,
  asks: Sequence[bool],
) -> Iterator[_Request]:
  """The requests of a user in a part, in order of their first event."""
  events = _positions(histories, record, part)
  begin = int(events[0]) if len(events) else 0
  events = events[feedback.asked(record)[events]]
  if not len(events):
    return
  numbers, queries = request_numbers(record), request_queries(record, asks)
  # Of the whole record: what a cut in time leaves of a request has siblings
  # on the other side of it.
  _, first, place = np.unique(numbers, return_index=True, return_inverse=True)
  for end in np.unique(first[place[events]]):
    mine = events[first[place[events]] == end]
    known = min(int(end), begin) if frozen else int(end)
    for start in range(0, len(mine), num_candidates):
      shown = mine[start : start + num_candidates]
      yield _Request(record, int(end), shown, known, int(queries[end]))


def _side_by_side(
  requests: list[_Request], feedback: BoundFeedback, num_candidates: int
) -> Impressions:
  """Requests side by side, padded to num_candidates."""
  shape = (len(requests), num_candidates)
  candidates, labels = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
  event = np.full(shape, -1, np.int32)
  for row, request in enumerate(requests):
    n = len(request.events)
    candidates[row, :n] = request.record["item"][request.events]
    labels[row, :n] = feedback.bits(request.record)[request.events]
    event[row, :n] = request.events
  return Impressions(
    user=np.array([r.record["user"] for r in requests], np.int32),
    history=[cut(r.record, r.known) for r in requests],
    query_time=_times([(r.record, r.end) for r in requests]),
    candidates=candidates,
    labels=labels,
    known=event >= 0,
    event=event,
    # What is not known begins with the first event that the history lacks.
    until=_times([(r.record, r.known) for r in requests]),
    query=np.array([r.query for r in requests], np.int32),
  )


def _times(events: list[tuple[Record, int]]) -> Int[np.ndarray, "n"]:
  """When events of records were; 0 where they have no times."""
  found = [r["time"][event] if "time" in r else 0 for r, event in events]
  return np.array(found, np.int32)


def iter_impressions(
  histories: Histories,
  part: str,
  feedback: Feedback,
  batch_size: int,
  num_candidates: int,
  *,
  frozen: bool = False,
  max_users: int | None = None,
  seed: int = 0,
) -> Iterator[Impressions]:
  """All labelled events of a part, in user order, in batches of requests.

  Args:
    histories: a prepared data set.
    part: "train", "validation" or "test".
    feedback: what the labels are; bound to the data set here.
    batch_size: requests at a time; the last batch may be smaller.
    num_candidates: N; a request of more items is cut into several rows.
    frozen: histories end where the part begins, as those of a service that
      learns nothing more of a user in that time.
    max_users: draw this many of the users that are asked in the part (seeded,
      without replacement; reads all histories once); None = all.
    seed: of that draw.

  Raises:
    ValueError: an unknown part, sizes below 1, or an unknown task.
  """
  if part not in PARTS:
    raise ValueError(f"part must be one of {PARTS}, got {part!r}.")
  for name, value in (
    ("batch_size", batch_size),
    ("num_candidates", num_candidates),
  ):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}.")
  bound = feedback.bind(histories.manifest.actions)
  asks = query_actions(histories.manifest.actions)
  users = np.arange(len(histories))
  if max_users is not None and max_users < len(users):
    users = _asked_users(histories, part, bound)
  if max_users is not None and max_users < len(users):
    users = np.random.default_rng(seed).choice(users, max_users, replace=False)
    users.sort()
  rows: list[_Request] = []
  for user in users:
    record = histories[int(user)]
    for request in _requests(
      histories, record, part, bound, num_candidates, frozen, asks
    ):
      rows.append(request)
      if len(rows) == batch_size:
        yield _side_by_side(rows, bound, num_candidates)
        rows = []
  if rows:
    yield _side_by_side(rows, bound, num_candidates)


def no_impressions(count: int, num_candidates: int) -> Impressions:
  """Impressions without history and candidates, for their shapes."""
  zeros = np.zeros(count, np.int32)
  nothing = np.zeros((count, num_candidates), np.int32)
  record = {"user": np.array(0, np.int32), "item": np.zeros(0, np.int32)}
  return Impressions(
    user=zeros,
    history=[record] * count,
    query_time=zeros,
    candidates=nothing,
    labels=nothing,
    known=nothing > 0,
    event=nothing - np.int32(1),
  )


def _asked_users(
  histories: Histories, part: str, feedback: BoundFeedback
) -> Int[np.ndarray, "n"]:
  """Users with a labelled event in a part; reads all histories."""
  asked = [
    feedback.asked(record)[_positions(histories, record, part)].any()
    for record in (histories[user] for user in range(len(histories)))
  ]
  return np.flatnonzero(asked)
