# SPDX-License-Identifier: Apache-2.0
"""The events of all training parts, side by side: what may be counted."""

from collections.abc import Callable

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.schema import Record


def training_events(
  histories: HistorySource,
  where: Callable[[Record], np.ndarray] | None = None,
) -> tuple[Int[np.ndarray, "E"], Int[np.ndarray, "E"]]:
  """Times and items of all training events, user by user.

  Args:
    histories: a prepared data set.
    where: says which events of a record count; None = all.

  Raises:
    ValueError: the data set has no times.
  """
  times, items = [np.zeros(0, np.int32)], [np.zeros(0, np.int32)]
  for user in range(len(histories)):
    record = histories[user]
    if "time" not in record:
      raise ValueError(
        "the data set has no times, and nothing says what was known at a"
        " request: map a timestamp column."
      )
    end = histories.split.train_end(record)
    keep = slice(0, end) if where is None else where(record)[:end].nonzero()
    times.append(record["time"][:end][keep])
    items.append(record["item"][:end][keep])
  return np.concatenate(times), np.concatenate(items)
