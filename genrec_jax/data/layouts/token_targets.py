# SPDX-License-Identifier: Apache-2.0
"""A history once, for all of its targets: what TokenPrefixes reads anew.

A user of n events is one example, the tokens of all events but the last; the
event behind each of them is a target, which sees the events before it, at most
max_items. TokenPrefixes has that in n - 1 examples. It is for models to which
an event does not depend on others (core/model_seams.py: SharedHistoryModel).

    token_BL  segment_ids_BL  positions_BL  user_BL      tokens of histories
    target_item_BS  target_codes_BSM  target_segment_BS  S = L / M targets
    target_first_BS  target_end_BS       tokens of its segment that each sees
    item_BL                              with_items: of a token

Target s stands at event s of its row. Requests are TokenPrefixes'.
"""

import dataclasses

from jaxtyping import Int
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
  """

  max_segments: int | None = None
  max_events: int = 0

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
    return self.max_events * self.num_levels

  @property
  def request_length(self) -> int:
    """Tokens of the longest history of a request."""
    return self.max_items * self.num_levels

  def check_system(self, system: Model) -> None:
    """Raises where events of a history are not apart to a model."""
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
    del rng
    if end < 2:
      return np.zeros((0, self.num_columns), np.int32)
    start = max(0, end - 1 - self.max_events)
    items = record["item"][start:end]
    rows = self._rows(items[:-1], int(record["user"]), len(items) - 1)
    targets = items[1:].copy()
    if start:
      targets[: self.max_items - 1] = 0
    rows[self.num_levels - 1 :: self.num_levels, 1] = targets
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
    target_BS = np.ascontiguousarray(rows_BLC[:, levels - 1 :: levels, 1])
    there_BS = target_BS > 0
    end_BS = positions_BL[:, levels - 1 :: levels] + 1
    first_BS = np.maximum(end_BS - self.request_length, 0)
    segment_BS = segment_ids_BL[:, levels - 1 :: levels]
    of_targets = {
      "target_segment_BS": segment_BS,
      "target_first_BS": first_BS,
      "target_end_BS": end_BS,
    }
    return {
      **self._named(rows_BLC, segment_ids_BL, positions_BL),
      "target_item_BS": target_BS,
      "target_codes_BSM": look_up(self.codes, target_BS, levels),
      **{
        name: np.where(there_BS, x, 0).astype(np.int32)
        for name, x in of_targets.items()
      },
    }
