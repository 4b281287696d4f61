# SPDX-License-Identifier: Apache-2.0
"""A history once, for all of its targets: what TokenPrefixes reads anew.

A user of n events is one example, the tokens of all events but the last; the
event behind each of them is a target, which sees the events before it, at most
max_items. TokenPrefixes has that in n - 1 examples. It is for models to which
an event does not depend on others (core/model_seams.py: SharedHistoryModel).

    token_BL  segment_ids_BL  positions_BL  user_BL      tokens of histories
    target_item_BS  target_codes_BSM  target_segment_BS  S = L / M targets, or
                                                         max_targets
    target_first_BS  target_end_BS       tokens of its segment that each sees
    item_BL                              with_items: of a token

Target s stands at event s of its row, or is the row's s-th where there are as
many places as max_targets. Requests are TokenPrefixes'. With `watched`, what
came of the targets besides (watched.py).
"""

import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.seams import Model
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.semantic_ids import look_up
from genrec_jax.data.schema import Record


@dataclasses.dataclass(frozen=True)
class TokenTargets(TokenPrefixes):
  """See the module docstring; attributes that are not here are TokenPrefixes'.

  Attributes:
    max_segments: histories of a row at most; None = as many as fit.
    max_events: of an example, at least max_items. Of longer histories the last
      are read, and targets left out of which a prefix would see more.
    max_targets: S of a row, of which the last are taken, for data in which few
      events are targets; 0 = a place for every event.
  """

  max_segments: int | None = None
  max_events: int = 0
  max_targets: int = 0

  def __post_init__(self):
    super().__post_init__()
    if self.max_events < self.max_items:
      raise ValueError(
        f"max_events={self.max_events} must be at least max_items="
        f"{self.max_items}, what a target sees."
      )
    if self.num_user_tokens:
      raise ValueError(
        f"num_user_tokens={self.num_user_tokens}: here events follow one"
        " another, and no user's token stands before them; take"
        " layouts.TokenPrefixes, or 0."
      )

  @property
  def max_length(self) -> int:
    """Tokens of the longest example."""
    return (self.max_events + self.head_slots) * self.num_levels

  @property
  def request_length(self) -> int:
    """Tokens of the longest history of a request."""
    return (self.max_items + self.head_slots) * self.num_levels

  def check_system(self, system: Model) -> None:
    """Raises where events of a history are not apart to a model."""
    super().check_system(system)
    seams.require(system, seams.SharedHistoryModel, "config.system")
    if not system.shares_history:
      raise ValueError(
        "layouts.TokenTargets asks for all targets of a history, and to this"
        f" config.system ({type(system).__name__}) an event depends on those"
        " behind it: take layouts.TokenPrefixes, or another backbone"
        " (backbones.LazyDecoder)."
      )

  def source(self, histories: HistorySource) -> HistorySource:
    """Users, each once."""
    return histories

  def example(
    self, record: Record, end: int, rng: np.random.Generator | None = None
  ) -> Int[np.ndarray, "n C"]:
    """Tokens of the events that a target follows; none where end < 2."""
    if end < 2:
      return np.zeros((0, self.num_columns), np.int32)
    start = max(0, end - 1 - self.max_events)
    items = record["item"][start:end]
    rows = self._read(record, slice(start, end - 1), int(record["user"]))
    events = rows[self.head_slots * self.num_levels :]
    targets = items[1:].copy()
    if start:
      targets[: self.max_items - 1] = 0
    last = slice(self.num_levels - 1, None, self.num_levels)
    if self.watched is not None:
      facts = self.watched.rows(record, rng)[start + 1 : end]
      events[last, self._facts] = facts
      places = start + 1 + np.arange(len(targets))
      ends = self.watched.ends(record)[places]
      seen = (ends >= start + self.max_items) | (start == 0)
      targets[~self.watched.targets(record)[places] | ~seen] = 0
    events[last, 1] = targets
    return rows

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and gathers their targets; all int32.

    Raises:
      ValueError: rows that are no whole number of events.
    """
    levels = self.num_levels
    if rows_BLC.shape[1] % levels:
      raise ValueError(
        f"rows of {rows_BLC.shape[1]} tokens are no whole number of events of"
        f" {levels}: change config.pipeline.row_length."
      )
    # An event's target stands at its last token.
    at_BSC = rows_BLC[:, levels - 1 :: levels]
    end_BS = positions_BL[:, levels - 1 :: levels] + 1
    segment_BS = segment_ids_BL[:, levels - 1 :: levels]
    if self.max_targets:
      place_BS = _last_targets(at_BSC[:, :, 1] > 0, self.max_targets)
      at_BSC, end_BS, segment_BS = (
        _at(x, place_BS) for x in (at_BSC, end_BS, segment_BS)
      )
    target_BS = np.ascontiguousarray(at_BSC[:, :, 1])
    there_BS = target_BS > 0
    facts = {}
    if self.watched is not None:
      facts_BSC = np.where(there_BS[:, :, None], at_BSC[:, :, self._facts], 0)
      facts = self.watched.facts(facts_BSC)
      # Events of its own request are none that a target sees.
      end_BS = end_BS - levels * self.watched.beside(facts_BSC)
    of_targets = {
      "target_segment_BS": segment_BS,
      "target_first_BS": np.maximum(end_BS - levels * self.max_items, 0),
      "target_end_BS": end_BS,
    }
    return {
      **facts,
      **self._named(rows_BLC, segment_ids_BL, positions_BL),
      "target_item_BS": target_BS,
      "target_codes_BSM": look_up(self.codes, target_BS, levels),
      **{
        name: np.where(there_BS, x, 0).astype(np.int32)
        for name, x in of_targets.items()
      },
    }


def _last_targets(
  there_BN: Bool[np.ndarray, "B N"], count: int
) -> Int[np.ndarray, "B S"]:
  """Where the last `count` targets of each row are, in order; -1 = none."""
  behind_BN = np.cumsum(there_BN[:, ::-1], axis=1)[:, ::-1]
  row, place = np.nonzero(there_BN & (behind_BN <= count))
  kept_B = np.minimum(there_BN.sum(axis=1), count)
  found = np.full((len(there_BN), count), -1, np.int64)
  found[row, kept_B[row] - behind_BN[row, place]] = place
  return found


def _at(x_BN: np.ndarray, place_BS: Int[np.ndarray, "B S"]) -> np.ndarray:
  """What stands at places of rows; zeros at -1."""
  found = x_BN[np.arange(len(x_BN))[:, None], place_BS]
  there = place_BS >= 0
  return found * there.reshape(*there.shape, *[1] * (found.ndim - 2))
