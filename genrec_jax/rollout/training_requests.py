# SPDX-License-Identifier: Apache-2.0
"""Which events of the training part are asked for at a step.

    step t asks for G users, the next ones of their order in an epoch, and for
    one event of each that has a history before it, evenly drawn

Everything is a function of the seed and the step: a run that goes on at a step
asks for what it would have asked for, and keeps nothing.
"""

import functools

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests, make_requests

# Of this stream among those of a seed.
_STREAM = 14


class TrainingRequests:
  """See the module docstring."""

  def __init__(self, histories: HistorySource, count: int, seed: int):
    """Reads all histories once.

    Args:
      histories: a prepared data set.
      count: G.
      seed: of the order of users and the choice of events.

    Raises:
      ValueError: no user has two events in the training part.
    """
    ends = np.array(
      [
        histories.split.train_end(histories[user])
        for user in range(len(histories))
      ]
    )
    self._users = np.flatnonzero(ends > 1)
    if not len(self._users):
      raise ValueError(
        "no user has two events in the training part, of which the second could"
        " be asked for: lower the filters or change the split."
      )
    self._ends, self._histories = ends, histories
    self._count, self._seed = count, seed
    self._order = functools.lru_cache(maxsize=2)(self._order_of)

  def at(self, step: int) -> Requests:
    """The requests of a step."""
    numbers = step * self._count + np.arange(self._count)
    epochs, places = np.divmod(numbers, len(self._users))
    users, events = [], []
    for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True):
      order, share = self._order(epoch)
      user = int(order[place])
      users.append(user)
      events.append(1 + int(share[place] * (self._ends[user] - 1)))
    records = [self._histories[user] for user in users]
    return make_requests(list(zip(records, events, strict=True)))

  def _order_of(
    self, epoch: int
  ) -> tuple[Int[np.ndarray, "U"], Float[np.ndarray, "U"]]:
    """Users of an epoch, and how far into its events each is asked."""
    rng = np.random.default_rng((self._seed, _STREAM, epoch))
    return rng.permutation(self._users), rng.random(len(self._users))
