# SPDX-License-Identifier: Apache-2.0
"""Layouts for one model that retrieves and ranks: they also say what came next.

    i_0 a_0 i_1 a_1 ...  c        next_item of a_n is i_{n+1}
    e_0 e_1 ...          c        next_item of e_n is e_{n+1}'s item

The last token of every event, the one that tells its action, is asked for the
item of the event after it, and is told when that was (query_time, as in
data/layouts/next_item.py); of the history's last event, the first item of the
request that is asked about. What a token is asked for lies behind all that it
sees. HSTU: arXiv 2402.17152, section 2, where items that the user did not like
are no targets (`wanted`).
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.actions import ActionOriented, Fused, Interleaved
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.ranking import RequestLayout
from genrec_jax.data.layouts.request_columns import (
  NEXT_ITEM,
  PLACE,
  with_measurable_times,
)
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.data.layouts.request_examples import ASKED, PIECE
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class JointLayout(RequestLayout):
  """What the layouts below add; see the module docstring.

  Attributes:
    wanted: next items count where the user did any of its tasks with them;
      None = all count.
    bound_wanted: set by `bind`.
  """

  wanted: Feedback | None = None
  bound_wanted: BoundFeedback | None = None

  def __post_init__(self):
    super().__post_init__()
    if not self.causal:
      raise ValueError(
        "causal=False lets a history see the items that its tokens are asked"
        " for: set causal=True, or take a layout of data/layouts/actions.py."
      )

  def bind(self, artifacts: LayoutArtifacts) -> "JointLayout":
    """The layout with what actions mean, of what is wanted too."""
    bound = super().bind(artifacts)
    if self.wanted is None:
      return bound
    actions = artifacts.histories.manifest.actions
    return dataclasses.replace(bound, bound_wanted=self.wanted.bind(actions))

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of a request, and what came after each event before it."""
    rows = super().example(record, end, rng)
    count = min(end, self.max_events)
    if ASKED in record and count and not record[PIECE]:
      # Event `end` is the request's first: it is of the training part too.
      after = slice(end - count + 1, end + 1)
      items = record["item"][after]
      if self.wanted is not None:
        bits = self._bound("bound_wanted").bits(record)[after]
        items = np.where(bits > 0, items, 0)
      rows[self._last_tokens(count), PLACE[NEXT_ITEM]] = items
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """The arrays of every layout of requests, and next_item_BL."""
    batch = super().batch(rows_BLC, segment_ids_BL, positions_BL)
    found = np.ascontiguousarray(rows_BLC[:, :, PLACE[NEXT_ITEM]])
    return {**batch, f"{NEXT_ITEM}_BL": found}

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """One row per request: context and history, padding behind.

    The last token asks for the next item at the request's time.
    """
    length = self.request_length - self.num_candidates
    rows = np.zeros((len(requests), length, self.num_columns), np.int32)
    segments = np.zeros(rows.shape[:2], np.int32)
    nothing = np.zeros(0, np.int32)
    for i, record in enumerate(requests.history):
      seen = self._events(record, len(record["item"]))
      user, time = int(requests.user[i]), int(requests.query_time[i])
      mine = with_measurable_times(self._rows(seen, nothing, time, user))
      rows[i, : len(mine)], segments[i, : len(mine)] = mine, 1
    return self.batch(rows, segments, segments)

  def _rows(
    self, seen: RequestEvents, items, time: int, user: int
  ) -> Int[np.ndarray, "n C"]:
    rows = super()._rows(seen, items, time, user)
    count = len(seen.item)
    if count:
      asked_at = np.append(seen.time[1:], time)
      rows[self._last_tokens(count), PLACE["query_time"]] = asked_at
    return rows

  def _last_tokens(self, count: int) -> Int[np.ndarray, "n"]:
    """Places of the tokens of `count` events that tell their actions."""
    size = self.tokens_per_event
    return len(self.context) + size * (1 + np.arange(count)) - 1


@dataclasses.dataclass(frozen=True)
class JointInterleaved(JointLayout, Interleaved):
  """An item and what came of it, one after the other."""


@dataclasses.dataclass(frozen=True)
class JointActionOriented(JointLayout, ActionOriented):
  """An item with what came of it, and when it was shown, in one token."""


@dataclasses.dataclass(frozen=True)
class JointFused(JointLayout, Fused):
  """An item with what came of it; nothing is said of requests."""
