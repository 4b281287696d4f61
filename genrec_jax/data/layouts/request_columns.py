# SPDX-License-Identifier: Apache-2.0
"""Columns of an example of requests: one int32 each for every token.

action is a bit mask, kind and role are of core/roles.py, request is a running
number. The column next_item is for data/layouts/joint.py alone, and slot for
data/layouts/shown_together.py. Features of the moment follow behind these.
"""

from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.roles import ATTRIBUTE, CONTEXT
from genrec_jax.data.layouts.request_events import (
  UNKNOWN_GAP,
  UNKNOWN_TIME,
  measurable,
)

NEXT_ITEM, SLOT = "next_item", "slot"
# Those that are arrays of every batch.
ARRAYS = (
  *("item", "action", "kind", "role", "positions", "limit", "request", "gap"),
  *("time", "query_time", "label", "labelled", "context", "user"),
)
COLUMNS = (*ARRAYS, NEXT_ITEM, SLOT)
PLACE = {name: i for i, name in enumerate(COLUMNS)}
_TIMES = [PLACE["time"], PLACE["query_time"]]


def put(rows: Int[np.ndarray, "n C"], **columns: Any) -> None:
  """Sets columns of rows by name."""
  for name, value in columns.items():
    rows[:, PLACE[name]] = value


def put_context(rows: Int[np.ndarray, "n C"]) -> None:
  """Makes rows the tokens of a user's attributes, in front of all others."""
  put(
    rows,
    kind=ATTRIBUTE,
    role=CONTEXT,
    positions=np.arange(len(rows)),
    limit=len(rows),
    gap=UNKNOWN_GAP,
    time=UNKNOWN_TIME,
    query_time=UNKNOWN_TIME,
  )


def with_measurable_times(
  rows: Int[np.ndarray, "n C"],
) -> Int[np.ndarray, "n C"]:
  """Rows whose times can be subtracted, in place."""
  rows[:, _TIMES] = measurable(rows[:, _TIMES])
  return rows
