# SPDX-License-Identifier: Apache-2.0
"""Tokens of a history of items and actions: three layouts of requests.

    Interleaved      i_0 a_0 i_1 a_1 ...  c    2 tokens an event
    ActionOriented   e_0 e_1 ...          c    1: item, action, request, gap
    Fused            the same without request and gap (they are 0 and -1)

c are the items that are asked about. Interleaved asks about the items of its
history where they stand, the others once more behind it (history_loss). Halving
the tokens makes a quarter of the attention and half of all else.

Sources: HSTU, arXiv 2402.17152, section 2 and its code for the first and the
last; GenRank, arXiv 2505.04180, for the second.
"""

import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.roles import ACTION, BOTH, EVENT, ITEM
from genrec_jax.data.layouts.ranking import RequestLayout
from genrec_jax.data.layouts.request_columns import COLUMNS, put
from genrec_jax.data.layouts.request_events import (
  UNKNOWN_GAP,
  RequestEvents,
)


@dataclasses.dataclass(frozen=True)
class Interleaved(RequestLayout):
  """An item and what came of it, one after the other."""

  tokens_per_event = 2
  asked_kind = ITEM
  targets_of_history = False

  def history(self, seen: RequestEvents) -> Int[np.ndarray, "n C"]:
    """Pairs of tokens; an item is at its request's place and time."""
    rows = np.zeros((2 * len(seen.item), len(COLUMNS)), np.int32)
    items, actions = rows[::2], rows[1::2]
    of_request = {"request": seen.request, "gap": seen.gap, "role": EVENT}
    put(
      items,
      item=seen.item,
      kind=ITEM,
      positions=2 * seen.first,
      limit=2 * seen.first,
      time=seen.request_time,
      query_time=seen.request_time,
      **of_request,
    )
    put(
      actions,
      action=seen.shown,
      kind=ACTION,
      positions=2 * np.arange(len(seen.item)) + 1,
      limit=-1,
      time=seen.time,
      query_time=seen.time,
      **of_request,
    )
    return rows


@dataclasses.dataclass(frozen=True)
class ActionOriented(RequestLayout):
  """An item with what came of it, and when it was shown, in one token."""

  def history(self, seen: RequestEvents) -> Int[np.ndarray, "n C"]:
    """One token per event."""
    rows = np.zeros((len(seen.item), len(COLUMNS)), np.int32)
    put(
      rows,
      item=seen.item,
      action=seen.shown,
      kind=BOTH,
      role=EVENT,
      positions=np.arange(len(seen.item)),
      limit=-1,
      time=seen.time,
      query_time=seen.time,
      **self.of_request(seen.request, seen.gap),
    )
    return rows


@dataclasses.dataclass(frozen=True)
class Fused(ActionOriented):
  """An item with what came of it; nothing is said of requests."""

  def of_request(self, request, gap) -> dict[str, Any]:
    del request, gap
    return {"request": 0, "gap": UNKNOWN_GAP}
