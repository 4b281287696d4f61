# SPDX-License-Identifier: Apache-2.0
"""Every prefix of a history as an example of its own: history -> next item.

A user of n training events gives n - 1 examples, each the tokens of up to
max_items items before a target. Rows are packed with several of them:

    token_BL  segment_ids_BL  positions_BL  user_BL      tokens of histories
    target_item_BS  target_codes_BSM  target_segment_BS  S targets of a row
    item_BL                                              with_items: of a token
    target_percentile_BS  ...                            with watched
    event_action_BN  ...                                 with told

A token is its place in the table of all levels' codes (and, after those, of
hashed users): C_0 + .. + C_{m-1} + c. Target item 0 = no target.
"""

from collections.abc import Callable
import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.seams import Model
from genrec_jax.core.types import ItemData
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.base import (
  BaseLayout,
  LayoutArtifacts,
  check_item_content,
  item_data,
)
from genrec_jax.data.layouts.semantic_ids import (
  codes_of_catalog,
  look_up,
)
from genrec_jax.data.layouts.told_context import ToldContext
from genrec_jax.data.layouts.watched import Watched
from genrec_jax.data.schema import Record

_COLUMNS = ("token", "target", "user")
# Of a record: how many of its events come before the target.
_END = "end"


@dataclasses.dataclass(frozen=True)
class _ByRecord:
  """A split that records carry themselves."""

  def train_end(self, record: Record) -> int:
    """Events that may be read, the target included."""
    return int(record[_END]) + 1


class Prefixes:
  """All (user, target) pairs of the training parts, as a source of records."""

  split = _ByRecord()

  def __init__(self, histories: HistorySource, watched: Watched | None = None):
    """Counts the targets of every user; reads all histories once.

    Args:
      histories: a prepared data set.
      watched: says which events are targets; None = all but the first.
    """
    self._histories = histories
    self._places = None if watched is None else []
    counts = []
    for user in range(len(histories)):
      record = histories[user]
      end = histories.split.train_end(record)
      if watched is None:
        counts.append(max(0, end - 1))
        continue
      places = np.flatnonzero(watched.targets(record)[:end])
      counts.append(len(places))
      self._places.append(places.astype(np.int32))
    self._first = np.cumsum([0, *counts])

  def __len__(self) -> int:
    return int(self._first[-1])

  def __getitem__(self, index: int) -> Record:
    """A user's record and the position of the target."""
    if not 0 <= index < len(self):
      raise IndexError(f"{index} is out of range: {len(self)} prefixes.")
    user = int(np.searchsorted(self._first, index, side="right")) - 1
    number = index - int(self._first[user])
    end = 1 + number if self._places is None else self._places[user][number]
    return {**self._histories[user], _END: np.array(end, np.int32)}

  def __repr__(self) -> str:
    # Grain compares it when it restores an iterator.
    return f"Prefixes({self._histories!r})"


@dataclasses.dataclass(frozen=True)
class TokenPrefixes(BaseLayout):
  """See the module docstring.

  Attributes:
    max_items: most recent items read.
    level_sizes: codes of each level.
    num_user_tokens: hash buckets of users; 0 = no user token.
    max_segments: S, targets of a row at most.
    with_items: whether a batch says which item each token is of; 0 = none.
    codes: (V + 1, M), row 0 = padding; set by `bind`.
    item_content: see layouts.TokenHistory.
    item_data: gives what is known of the items, likewise.
    watched: what is told of targets, and which events are some; None = nothing,
      and all but the first.
    told: what is told of a history beside codes, `with_items`; each then has a
      slot of the user in front. None = nothing.
  """

  max_items: int
  level_sizes: tuple[int, ...]
  num_user_tokens: int = 0
  max_segments: int = 1
  with_items: bool = False
  codes: Int[np.ndarray, "V1 M"] | None = None
  item_content: str = "vectors"
  item_data: Callable[[], ItemData] | None = None
  watched: Watched | None = None
  told: ToldContext | None = None

  def __post_init__(self):
    if self.max_items < 1:
      raise ValueError(f"max_items={self.max_items} must be at least 1.")
    if self.told is not None and (self.num_user_tokens or not self.with_items):
      raise ValueError(
        "config.pipeline.layout.told needs with_items=True, and has a slot of"
        " the user in place of num_user_tokens."
      )
    check_item_content(self.item_content)

  @property
  def num_columns(self) -> int:
    """Columns of an Example; the item is the last."""
    return self._told_columns.stop + self.with_items

  @property
  def _facts(self) -> slice:
    """Columns that say what came of a target."""
    more = 0 if self.watched is None else self.watched.num_columns
    return slice(len(_COLUMNS), len(_COLUMNS) + more)

  @property
  def _told_columns(self) -> slice:
    """Columns that are told of events."""
    start = self._facts.stop
    return slice(
      start, start + (0 if self.told is None else self.told.num_columns)
    )

  @property
  def head_slots(self) -> int:
    """Slots of M tokens in front of a history's events."""
    return int(self.told is not None)

  @property
  def num_levels(self) -> int:
    """M."""
    return len(self.level_sizes)

  @property
  def max_length(self) -> int:
    """Tokens of the longest history."""
    slots = self.max_items + self.head_slots
    return bool(self.num_user_tokens) + slots * self.num_levels

  @property
  def request_length(self) -> int:
    """Tokens of the longest history of a request."""
    return self.max_length

  def bind(self, artifacts: LayoutArtifacts) -> "TokenPrefixes":
    """The layout with the codes of the data set's items."""
    watched = None if self.watched is None else self.watched.bind(artifacts)
    told = self.told
    if told is not None:
      told = told.bind(artifacts, watched and watched.fitted)
    return dataclasses.replace(
      self,
      codes=codes_of_catalog(artifacts, self.num_levels),
      item_data=item_data(artifacts, self.item_content),
      watched=watched,
      told=told,
    )

  def check_system(self, system: Model) -> None:
    """Raises a ValueError where a model reads something else than is told."""
    if self.told is None:
      return
    seams.require(system, seams.FeatureModel, "config.system")
    for name, told, reads in (
      ("feature_rows", self.told.features.rows, system.feature_rows),
      (
        "history_columns",
        self.told.features.history_columns,
        system.history_columns,
      ),
      ("num_actions", self.told.shown.num_tasks, system.num_actions),
    ):
      if told != (tuple(reads) if isinstance(told, tuple) else reads):
        raise ValueError(
          f"config.system.{name}={reads}, and config.pipeline.layout.told has"
          f" {told}: they must be the same."
        )

  def init_data(self) -> ItemData:
    """What is known of the items; ValueError where they have no vectors."""
    return self.item_data()

  def source(self, histories: HistorySource) -> HistorySource:
    """All prefixes of all users."""
    return Prefixes(histories, self.watched)

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens before event end - 1, which is the target; none where end < 2."""
    if end < 2:
      return np.zeros((0, self.num_columns), np.int32)
    start = end - 1
    if self.watched is not None:
      start = int(self.watched.ends(record)[end - 1])
    seen = slice(max(0, start - self.max_items), start)
    rows = self._read(record, seen, int(record["user"]))
    rows[-1, 1] = record["item"][end - 1]
    if self.watched is not None:
      rows[-1, self._facts] = self.watched.rows(record, rng)[end - 1]
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and gathers their targets; all int32.

    Raises:
      ValueError: a row of more targets than max_segments.
    """
    target_BL = rows_BLC[:, :, 1]
    row, place = np.nonzero(target_BL)
    number = segment_ids_BL[row, place] - 1
    if number.max(initial=0) >= self.max_segments:
      raise ValueError(
        f"a row holds {number.max() + 1} targets; max_segments="
        f"{self.max_segments}."
      )
    shape = (len(rows_BLC), self.max_segments)
    target_BS = np.zeros(shape, np.int32)
    segment_BS = np.zeros(shape, np.int32)
    target_BS[row, number] = target_BL[row, place]
    segment_BS[row, number] = number + 1
    facts = {}
    if self.watched is not None:
      facts_BSC = np.zeros((*shape, self.watched.num_columns), np.int32)
      facts_BSC[row, number] = rows_BLC[row, place, self._facts]
      facts = self.watched.facts(facts_BSC)
    return {
      **facts,
      **self._named(rows_BLC, segment_ids_BL, positions_BL),
      "target_item_BS": target_BS,
      "target_codes_BSM": look_up(self.codes, target_BS, self.num_levels),
      "target_segment_BS": segment_BS,
    }

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: its most recent items, right padded; no target."""
    shape = (len(requests), self.request_length)
    rows = np.zeros((*shape, self.num_columns), np.int32)
    segments = np.zeros(shape, np.int32)
    for row, record in enumerate(requests.history):
      if len(record["item"]) or self.head_slots:
        user = int(requests.user[row])
        size = len(record["item"])
        seen = slice(max(0, size - self.max_items), size)
        example = self._read(record, seen, user)
        rows[row, : len(example)] = example
        segments[row, : len(example)] = 1
    positions = np.arange(shape[1], dtype=np.int32)[None, :] * segments
    return self.batch(rows, segments, positions)

  def _read(self, record: Record, seen: slice, user: int):
    """Rows of some events of a record, with what is told of them."""
    items = record["item"][seen]
    rows = self._rows(items, user, max(len(items), 1))
    if self.told is None:
      return rows
    levels = self.num_levels
    head = np.zeros((levels, self.num_columns), np.int32)
    head[:, 2] = user
    told = self.told.rows(record, user)[seen]
    rows[:, self._told_columns] = np.repeat(told, levels, axis=0)
    return np.concatenate([head, rows])

  def _named(self, rows_BLC, segment_ids_BL, positions_BL):
    """The columns of packed rows that say what is read."""
    items = {}
    if self.with_items:
      items["item_BL"] = np.ascontiguousarray(rows_BLC[:, :, -1])
    if self.told is not None:
      slots_BNC = rows_BLC[:, :: self.num_levels]
      items |= self.told.facts(
        slots_BNC[:, :, -1],
        slots_BNC[:, :, 2],
        segment_ids_BL[:, :: self.num_levels],
        slots_BNC[:, :, self._told_columns],
      )
    return {
      **items,
      "token_BL": np.ascontiguousarray(rows_BLC[:, :, 0]),
      "user_BL": np.ascontiguousarray(rows_BLC[:, :, 2]),
      "segment_ids_BL": segment_ids_BL.astype(np.int32),
      "positions_BL": positions_BL.astype(np.int32),
    }

  def _rows(
    self, items: Int[np.ndarray, "n"], user: int, at_most: int
  ) -> Int[np.ndarray, "t C"]:
    """The last items of an example, without targets."""
    items = items[-at_most:]
    tokens = self._tokens(items, user)
    rows = np.zeros((len(tokens), self.num_columns), np.int32)
    rows[:, 0] = tokens
    rows[:, 2] = user
    if self.with_items:
      of_items = np.repeat(items, self.num_levels)
      rows[len(tokens) - len(of_items) :, -1] = of_items
    return rows

  def _tokens(
    self, items: Int[np.ndarray, "n"], user: int
  ) -> Int[np.ndarray, "t"]:
    """The user's token, where it is known, and those of items."""
    starts = np.cumsum([0, *self.level_sizes[:-1]]).astype(np.int32)
    codes = look_up(self.codes, items, self.num_levels)
    tokens = (codes + starts[None, :]).reshape(-1)
    if not self.num_user_tokens or user < 0:
      return tokens
    own = sum(self.level_sizes) + user % self.num_user_tokens
    return np.concatenate([np.array([own], np.int32), tokens])
