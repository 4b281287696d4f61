# SPDX-License-Identifier: Apache-2.0
"""Who met an item before a moment: the transposed history.

    history of a user     the items that the user met, and what came of it
    audience of an item   the users who met the item, and what came of it

Both are the same log, grouped by one of its two columns or by the other
(data/dataset/event_index.py). An audience knows events before the moment alone,
of whichever user, the user who is asked included; nothing of the moment itself,
so no event is in its own audience. A list of events, not of different users:
who met an item twice is there twice. An item that nobody has met has none.

An event whose time is not known counts from the time that it is stored with,
which is no earlier than it was. What came of an event is what had been done at
its own time.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.event_index import EventIndex
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.splits import LeaveOneOut

_NEWEST, _RANDOM = KEEPS = ("newest", "random")
_WHERE = "config.pipeline.layout.audience"


@dataclasses.dataclass(frozen=True)
class Audience:
  """See the module docstring.

  Attributes:
    length: J, events of an item at most.
    keep: which of more than J: the "newest", or a "random" draw.
    seed: of that draw, which is the same in training and in use.
    live: events of the validation and test parts count once they are over, as
      those of a user's own history do. False: those of the training part alone.
    wanted: events count on which any of its tasks was done; None = all.
  """

  length: int = 50
  keep: str = _NEWEST
  seed: int = 0
  live: bool = True
  wanted: Feedback | None = None

  def __post_init__(self):
    check_counts(self, _WHERE, "length")
    check_counts(self, _WHERE, "seed", least=0)
    if self.keep not in KEEPS:
      raise ValueError(
        f"{_WHERE}.keep={self.keep!r} is unknown."
        + choices_hint(self.keep, KEEPS)
      )

  def bind(self, histories: Histories, shown: BoundFeedback) -> "BoundAudience":
    """The audiences of a data set; reads all histories once.

    Args:
      histories: a prepared data set.
      shown: what is told of an event.

    Raises:
      ValueError: no times, or a live audience where parts overlap in time.
    """
    if self.live and isinstance(histories.split, LeaveOneOut):
      raise ValueError(
        f"{_WHERE}.live=True tells training of other users' test events, which"
        " under data.LeaveOneOut may be earlier: set it to False, or split by"
        " data.GlobalTime."
      )
    wanted = None
    if self.wanted is not None:
      wanted = self.wanted.bind(histories.manifest.actions)
    parts = [np.zeros((4, 0), np.int32)]
    for user in range(len(histories)):
      record = histories[user]
      if "time" not in record:
        raise ValueError(
          "the data set has no times, and nothing says who had met an item"
          " before: map a timestamp column."
        )
      items_L = record["item"]
      end = len(items_L) if self.live else histories.split.train_end(record)
      counts_L = np.arange(len(items_L)) < end
      if wanted is not None:
        counts_L &= wanted.done(record) > 0
      whose_L = np.full_like(items_L, user + 1)
      told = (items_L, record["time"], whose_L, shown.done(record))
      parts.append(np.stack(told)[:, counts_L])
    item_E, time_E, user_E, done_E = np.concatenate(parts, axis=1)
    return BoundAudience(
      EventIndex.of(item_E, time_E, user=user_E, done=done_E),
      self.length,
      self.seed if self.keep == _RANDOM else None,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class BoundAudience:
  """Audiences of one data set.

  Attributes:
    index: events by item: "user", 1 + index, and "done", a bit mask.
    length: J.
    seed: of a draw; None for the newest.
  """

  index: EventIndex
  length: int
  seed: int | None

  def of(
    self, item_N: Int[np.ndarray, "N"], until_N: Int[np.ndarray, "N"]
  ) -> tuple[Int[np.ndarray, "N J"], Int[np.ndarray, "N J"]]:
    """1 + index of the users, oldest first, 0 = none, and what they did.

    Args:
      item_N: indices; 0 is nothing, which nobody has met.
      until_N: seconds since the data set's epoch; events before it are known.
    """
    place_NJ = self.index.last(item_N, until_N, self.length, seed=self.seed)
    columns = self.index.columns
    return columns["user"][place_NJ], columns["done"][place_NJ]
