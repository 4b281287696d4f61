# SPDX-License-Identifier: Apache-2.0
"""Which events of the training part are asked for at a step.

    step t asks for G users, the next ones of their order in an epoch, and for
    one event of each that has a history before it, evenly drawn

With `moments` these are the first events of moments, such as of baskets, of
which nothing may be known yet. Everything is a function of the seed and the
step: a run that goes on at a step asks for what it would have asked for, and
keeps nothing.
"""

import functools

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests, make_requests
from genrec_jax.data.schema import Record

# Of this stream among those of a seed.
_STREAM = 14


class TrainingRequests:
  """See the module docstring."""

  def __init__(
    self,
    histories: HistorySource,
    count: int,
    seed: int,
    moments: bool = False,
  ):
    """Reads all histories once.

    Args:
      histories: a prepared data set.
      count: G.
      seed: of the order of users and the choice of events.
      moments: ask before the first event of a moment alone.

    Raises:
      ValueError: no user has two events (or moments) in the training part, or
        moments of data without times.
    """
    self._histories, self._moments = histories, moments
    numbers = [
      len(self._events(histories[user])) for user in range(len(histories))
    ]
    self._users = np.flatnonzero(np.array(numbers) > 0)
    if not len(self._users):
      raise ValueError(
        f"no user has two {'moments' if moments else 'events'} in the training"
        " part, of which the second could be asked for: lower the filters or"
        " change the split."
      )
    self._count, self._seed = count, seed
    self._order = functools.lru_cache(maxsize=2)(self._order_of)

  def at(self, step: int) -> Requests:
    """The requests of a step."""
    numbers = step * self._count + np.arange(self._count)
    epochs, places = np.divmod(numbers, len(self._users))
    rows = []
    for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True):
      order, share = self._order(epoch)
      record = self._histories[int(order[place])]
      events = self._events(record)
      rows.append((record, int(events[int(share[place] * len(events))])))
    return make_requests(rows)

  def _events(self, record: Record) -> Int[np.ndarray, "n"]:
    """Events of the training part that may be asked for."""
    end = self._histories.split.train_end(record)
    if not self._moments:
      return np.arange(1, end)
    if "time" not in record:
      raise ValueError(
        "config.rollout.moments=True reads times, and the data set has none:"
        " map a timestamp column, or set it to False."
      )
    return 1 + np.flatnonzero(np.diff(record["time"][:end]) > 0)

  def _order_of(
    self, epoch: int
  ) -> tuple[Int[np.ndarray, "U"], Float[np.ndarray, "U"]]:
    """Users of an epoch, and how far into its events each is asked."""
    rng = np.random.default_rng((self._seed, _STREAM, epoch))
    return rng.permutation(self._users), rng.random(len(self._users))
