# SPDX-License-Identifier: Apache-2.0
"""What a history tells of its events, as values of a grammar's types.

    window = values.window(record, end, limit, user)    TokenWindow
    values.after(features, record, time, user, items)   of items asked about

A window holds as many of the most recent events as fit, whole: an example is
cut at the border of an event, and a request whose first event is not kept
begins with the first that is. What is told of an item or a request was known
when its request was made, whatever came after it; of a moment whose time is not
known nothing is told.
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts.request_events import RequestEvents
from genrec_jax.data.layouts.semantic_ids import look_up
from genrec_jax.data.schema import Record
from genrec_jax.data.token_events import (
  UNKNOWN_ACTION,
  TokenEvents,
  first_kept,
)
from genrec_jax.data.token_grammar import TokenGrammar


@dataclasses.dataclass(frozen=True, eq=False)
class TokenWindow:
  """The events of an example.

  Attributes:
    seen: of the record; more than are kept.
    events: rows of the grammar.
    asked_N: actions as they are asked for, what followed later included.
    of_N: which of `seen` each row is of.
  """

  seen: RequestEvents
  events: TokenEvents
  asked_N: Int[np.ndarray, "N"]
  of_N: Int[np.ndarray, "N"]


@dataclasses.dataclass(frozen=True, eq=False)
class TokenValues:
  """See the module docstring.

  Attributes:
    grammar: whose types the values are of.
    extras: of an item at its moment.
    context: of a request.
    codes: (V + 1, M), row 0 = padding; None for a layout that is not bound.
    feedback: what actions mean; None likewise.
    other: which actions are events of their own behind the item; None = none.
  """

  grammar: TokenGrammar
  extras: FeatureSet
  context: FeatureSet
  codes: Int[np.ndarray, "V1 M"] | None
  feedback: BoundFeedback | None
  other: BoundFeedback | None

  def window(
    self, record: Record, end: int, limit: int, user: int
  ) -> TokenWindow:
    """The most recent of the first `end` events.

    Args:
      record: of a user.
      end: events that may be seen.
      limit: tokens that there is room for, bos included.
      user: index; -1 is nobody known.
    """
    # An event has a token at least.
    seen = RequestEvents.of(record, end, limit, self.feedback, self.feedback)
    begin = end - len(seen.item)
    other_NO = self._other(record, end)[begin:]
    numbers = request_numbers(record)[begin:end]
    switches = np.append(True, np.diff(numbers) != 0)[: len(numbers)]
    context = len(self.grammar.context)
    first = first_kept(
      len(self.grammar.block) + other_NO.sum(axis=1),
      switches,
      context,
      limit - 1,
    )
    switches[first : first + 1] = True
    starts = switches[first:] & bool(context)
    other_NO, count = other_NO[first:], len(numbers) - first
    at = np.arange(begin + first, end)
    # An item's row, and behind it one for each event without an item.
    size = 1 + other_NO.sum(axis=1)
    rows = np.cumsum(size) - size
    events = TokenEvents.empty(self.grammar, int(size.sum()))
    asked_N = np.zeros(len(events), np.int32)
    known = self._known(record, at)
    events.codes_NM[rows] = self.codes_of(seen.item[first:])
    events.extra_NE[rows] = self._at(self.extras, record, at, user)
    of_requests = self._at(self.context, record, at, user)
    events.context_NC[rows] = np.where(starts[:, None], of_requests, 0)
    events.starts_N[rows] = starts
    events.action_N[rows] = np.where(known, seen.shown[first:], UNKNOWN_ACTION)
    asked_N[rows] = np.where(known, seen.label[first:], UNKNOWN_ACTION)
    of, kind = np.nonzero(other_NO)
    rank = np.cumsum(other_NO, axis=1)[of, kind]
    events.other_N[rows[of] + rank] = kind + 1
    of_N = first + np.repeat(np.arange(count), size)
    return TokenWindow(seen, events, asked_N, of_N)

  def codes_of(self, items: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n M"]:
    """Codes of items; zeros where no table is bound."""
    return look_up(self.codes, items, len(self.grammar.level_sizes))

  def after(
    self,
    features: FeatureSet,
    record: Record,
    time: int,
    user: int,
    items: Int[np.ndarray, "n"],
  ) -> Int[np.ndarray, "n F"]:
    """Values of features at a time behind a whole record."""
    if not features.features:
      return np.zeros((len(items), 0), np.int32)
    moments = features.of_moments(Moments.after(record, time, items))
    return features.asked(items, np.full(len(items), user), moments)

  def _at(
    self,
    features: FeatureSet,
    record: Record,
    events: Int[np.ndarray, "n"],
    user: int,
  ) -> Int[np.ndarray, "n F"]:
    """The same at the requests of events."""
    if not features.features or not len(events):
      return np.zeros((len(events), len(features.features)), np.int32)
    moments = features.of_moments(Moments.of_events(record, events))
    if self.feedback is not None:
      untimed = self.feedback.untimed(record)[events]
      moments = np.where(untimed[:, None], 0, moments).astype(np.int32)
    users = np.full(len(events), user)
    return features.asked(record["item"][events], users, moments)

  def _other(self, record: Record, end: int) -> Int[np.ndarray, "n O"]:
    """Which events of their own come behind each of the first `end`."""
    count = len(self.grammar.other)
    if self.other is None or not end:
      return np.zeros((end, count), np.int32)
    done = self.other.done(record)[:end]
    return done[:, None] >> np.arange(count)[None, :] & 1

  def _known(
    self, record: Record, events: Int[np.ndarray, "n"]
  ) -> Bool[np.ndarray, "n"]:
    if self.feedback is None or not len(events):
      return np.zeros(len(events), bool)
    return self.feedback.known(record)[events]
