# SPDX-License-Identifier: Apache-2.0
"""What lists made for everyone know, which Parquet keeps beside them.

    file.tell(ListFacts.of(histories, identity).texts())
    ListFacts.read("lists.parquet").known_until

A list knows no event behind the last one of the data set that it was made of,
however much later it is made. Times of events are whole seconds.
"""

from collections.abc import Mapping
import dataclasses
import os
import time

import numpy as np
import pyarrow.parquet as pq

from genrec_jax.data.dataset.feedback import untimed_actions
from genrec_jax.data.dataset.histories import Histories

_PREFIX = "genrec_"
# Records that are read together.
_MANY = 1024


@dataclasses.dataclass(frozen=True)
class ListFacts:
  """See the module docstring.

  Attributes:
    made: unix seconds at which the lists were begun.
    known_until: those of the data set's last event; -inf where nobody knows
      when events were.
    model: identity of the run that they are of; "" = of several, or as it is
      not served.
  """

  made: float
  known_until: float
  model: str = ""

  @classmethod
  def of(cls, histories: Histories, model: str = "") -> "ListFacts":
    """Of lists that are begun now; reads all histories."""
    return cls(time.time(), _last_event(histories), model)

  @classmethod
  def read(cls, path: str | os.PathLike) -> "ListFacts":
    """Those of a Parquet file; a ValueError where it has none."""
    kept = pq.read_schema(path).metadata or {}
    try:
      made, known, model = (
        kept[f"{_PREFIX}{field.name}".encode()].decode()
        for field in dataclasses.fields(cls)
      )
    except KeyError:
      raise ValueError(
        f"{path} does not say when its lists were made and until when they know"
        " events: make them anew, by genrec recommend --all-users without"
        " --as_of into a .parquet file, and leave the file as it is."
      ) from None
    return cls(float(made), float(known), model)

  def texts(self) -> Mapping[str, str]:
    """What is kept."""
    return {
      f"{_PREFIX}{name}": str(value)
      for name, value in dataclasses.asdict(self).items()
    }


def _last_event(histories: Histories) -> float:
  manifest = histories.manifest
  if manifest.epoch_seconds is None:
    return -np.inf
  untimed = np.array(untimed_actions(manifest.actions), bool)
  last = -np.inf
  for start in range(0, len(histories), _MANY):
    users = range(start, min(start + _MANY, len(histories)))
    for record in histories.many(users):
      times = record["time"]
      if "action" in record and untimed.any():
        times = times[~untimed[record["action"]]]
      if len(times):
        last = max(last, float(times[-1]))
  return last + manifest.epoch_seconds
