# SPDX-License-Identifier: Apache-2.0
"""When lists are asked for, beside what they know: none may be of the future.

A list for an event of the training part must be made of events that are no
later than it; one for a held-out event may know the whole training part too, as
a trained model does. Made lists (made_lists.py) and members of an ensemble
(list_member.py) are held to it.
"""

from collections.abc import Callable
import dataclasses
import datetime

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.retriever_lists import UNKNOWN


def train_until(histories: Histories) -> int:
  """Time of the latest training event; of data without times, for ever.

  Reads all histories.
  """
  last = [0]
  for user in range(len(histories)):
    record = histories[user]
    if "time" not in record:
      return UNKNOWN
    end = histories.split.train_end(record)
    if end:
      last.append(int(record["time"][end - 1]))
  return max(last)


@dataclasses.dataclass(frozen=True)
class AskedMoments:
  """See the module docstring; one entry a request.

  Attributes:
    histories: the data set.
    event_E, user_E, time_E: of which event of whom, and when.
    train_E: whether it is of the training part.
    known: gives the time of the latest training event.
  """

  histories: Histories
  event_E: Int[np.ndarray, "E"]
  user_E: Int[np.ndarray, "E"]
  time_E: Int[np.ndarray, "E"]
  train_E: Bool[np.ndarray, "E"]
  known: Callable[[], int]

  def check_complete(self, name: str, lacks_E: Bool[np.ndarray, "E"]) -> None:
    """Raises a ValueError where requests are lacking."""
    if not lacks_E.any():
      return
    raise ValueError(
      f"the lists of {name!r} lack {int(lacks_E.sum()):,} of"
      f" {len(lacks_E):,} requests, the first {self._request(lacks_E)}.\nAdd"
      " them, an empty list where nothing was returned, or leave the retriever"
      " out."
    )

  def hindsight(
    self, name: str, until_E: Int[np.ndarray, "E"], *, allowed: bool
  ) -> str:
    """Why training lists are made of later events; "" = they are not.

    Raises:
      ValueError: they are and may not be, or those of held-out requests are.
    """
    known_E = np.where(self.train_E, self.time_E, self.known())
    late_E = until_E > np.maximum(self.time_E, known_E)
    if not late_E.any():
      return ""
    at = int(np.argmax(late_E))
    asked, until = (self._date(int(x[at])) for x in (self.time_E, until_E))
    said = (
      f"{int(late_E.sum()):,} of {len(late_E):,} lists of {name!r} are made of"
      " events after the one that they are asked for: the first, for"
      f" {self._request(late_E)} of {asked}, of events until {until}."
    )
    if allowed and not (late_E & ~self.train_E).any():
      return said
    taken = ""
    if (late_E & self.train_E).any():
      taken = (
        "; config.lists.hindsight=True takes such lists of training events, for"
        " negatives alone"
      )
    raise ValueError(
      f"{said}\nAsk what knew no more then (experiment.ItemKnnLists is made"
      f" anew over time){taken}."
    )

  def _request(self, which_E: Bool[np.ndarray, "E"]) -> str:
    at = int(np.argmax(which_E))
    users = Users(self.histories.directory).ids
    return f"event {self.event_E[at]} of user {users[self.user_E[at]]!r}"

  def _date(self, seconds: int) -> str:
    epoch = self.histories.manifest.epoch_seconds
    if epoch is None or seconds == UNKNOWN:
      return "a time that nobody knows"
    start = datetime.datetime(1970, 1, 1)
    moment = start + datetime.timedelta(seconds=seconds + epoch)
    return moment.isoformat(sep=" ")
