# SPDX-License-Identifier: Apache-2.0
"""Global batches out of parts, the same for any number of processes.

Users are dealt to `count` readers, u to reader u mod count, and each reader
fills its own rows of every global batch:

    rows of the batch   | reader 0 | reader 1 | reader 2 | reader 3 |
    2 processes         |      process 0      |      process 1      |

A process opens the readers of the rows that its devices hold. Where there are
fewer readers than processes, several open the same one and take their rows from
it: right, but each reads all of that reader's users. The order of the data and
its saved place belong to readers, so a run goes on with other processes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxtyping import Int
import numpy as np


class Readers(Iterator[dict[str, np.ndarray]]):
  """This process's rows of every global batch."""

  def __init__(
    self,
    open_reader: Callable[[int], Any],
    *,
    count: int,
    batch_size: int,
    rows: Int[np.ndarray, "n"] | None = None,
  ):
    """Opens the readers that are needed.

    Args:
      open_reader: number -> an iterator over that reader's rows of every batch
        (batch_size / count), with get_state, set_state and close.
      count: readers that share a global batch.
      batch_size: rows of the global batch.
      rows: global rows to yield, ascending; None for all.

    Raises:
      ValueError: readers that cannot share the batch evenly.
    """
    if count < 1 or batch_size % count:
      raise ValueError(
        f"config.pipeline.batch_size={batch_size} must be a multiple of"
        f" config.pipeline.readers={count}, and that at least 1."
      )
    rows = np.arange(batch_size) if rows is None else rows
    reader, place = np.divmod(rows, batch_size // count)
    self._open = {
      int(number): (open_reader(int(number)), place[reader == number])
      for number in np.unique(reader)
    }

  def __next__(self) -> dict[str, np.ndarray]:
    parts = [
      {key: value[place] for key, value in next(batches).items()}
      for batches, place in self._open.values()
    ]
    return {
      key: np.concatenate([part[key] for part in parts]) for key in parts[0]
    }

  def get_state(self) -> dict[str, Any]:
    """Reader -> its place, of the readers that this process has open."""
    return {str(n): r.get_state() for n, (r, _) in self._open.items()}

  def set_state(self, state: Mapping[str, Any]) -> None:
    """Goes to a saved place, given for all readers."""
    for number, (batches, _) in self._open.items():
      batches.set_state(state[str(number)])

  def close(self) -> None:
    """Ends the readers' threads."""
    for batches, _ in self._open.values():
      batches.close()
