# SPDX-License-Identifier: Apache-2.0
"""The baseline of what is popular now: counts in a window before each moment.

    score(item; t) = events of the item in [m - window, m)
    m              = t, rounded down to a whole number of steps; end if t >= end

of the training part, whose last event is just before `end`. So no list knows of
anything at its moment or later, whoever is asked about whom, and one that is
asked for after the training part knows that part's last days. Items without an
event in the window are not returned. Ties: lower index. Times are seconds since
the data set's epoch; one count of all items is made per step that is asked
about, and the latest ones are kept.
"""

from collections.abc import Callable
import functools
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.baselines.top_k import top_k
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.dataset.training_events import training_events
from genrec_jax.data.item_mask import ItemMask

_DAY = 86_400
# Counts of all items that are kept, of so many moments.
_KEPT = 512


class RecentlyPopular:
  """Ranks items by their training events in the last days before a request."""

  def __init__(
    self,
    times_E: Int[np.ndarray, "E"],
    items_E: Int[np.ndarray, "E"],
    num_items: int,
    *,
    window_seconds: int = 30 * _DAY,
    step_seconds: int = _DAY,
  ):
    """The training events, in any order.

    Raises:
      ValueError: no event, or a window or a step below a second.
    """
    if min(window_seconds, step_seconds) < 1:
      raise ValueError(
        f"window_seconds={window_seconds} and step_seconds={step_seconds} must"
        " be at least 1."
      )
    if not len(times_E):
      raise ValueError("no event is in the training part: nothing is popular.")
    order = np.argsort(times_E, kind="stable")
    self._times, self._items = times_E[order].astype(np.int64), items_E[order]
    self._num_items = num_items
    self._window, self._step = window_seconds, step_seconds
    self._counts: Callable[[int], Float[np.ndarray, "V1"]] = (
      functools.lru_cache(_KEPT)(self._count)
    )

  @classmethod
  def build(cls, histories: Histories, **options: int) -> "RecentlyPopular":
    """Reads the training part of all users; options as above.

    Raises:
      ValueError: the data set has no times.
    """
    times, items = training_events(histories)
    return cls(times, items, histories.manifest.num_items, **options)

  def search(
    self, query: Requests, k: int, allowed: ItemMask | None = None
  ) -> tuple[Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], dict[str, Any]]:
    """Ids and counts of the k most popular allowed items per request, and {}.

    Places beyond the items that have events hold id 0 and score -inf.
    """
    score_BV = np.stack([self._counts(m) for m in self._moments(query)])
    dense = None if allowed is None else allowed.dense()
    return *top_k(score_BV, k, dense), {}

  def until(self, query: Requests) -> Int[np.ndarray, "B"]:
    """Time of the latest event that each request's counts are of.

    That of the latest training event before the window's end, in it or not.
    The smallest int32 where there is none.
    """
    last = np.searchsorted(self._times, self._moments(query)) - 1
    found = self._times[np.maximum(last, 0)]
    return np.where(last < 0, np.iinfo(np.int32).min, found).astype(np.int32)

  def _moments(self, query: Requests) -> list[int]:
    """Where each request's window ends."""
    asked = query.query_time.astype(np.int64)
    end, steps = self._times[-1] + 1, asked // self._step * self._step
    return np.where(asked < end, steps, end).tolist()

  def _count(self, moment: int) -> Float[np.ndarray, "V1"]:
    start, end = np.searchsorted(self._times, (moment - self._window, moment))
    counts = np.bincount(
      self._items[start:end], minlength=self._num_items + 1
    ).astype(np.float32)
    return np.where(counts > 0, counts, -np.inf).astype(np.float32)
