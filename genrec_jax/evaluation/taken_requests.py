# SPDX-License-Identifier: Apache-2.0
"""Requests for what was taken: targets of a part on which something was done.

A request's history ends where the request began; what was shown beside the
target is not in it.
"""

from collections.abc import Iterator
import dataclasses

import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests, cut, make_requests
from genrec_jax.data.layouts.watched import Watched


def taken_requests(
  histories: HistorySource,
  watched: Watched,
  part: str,
  batch_size: int,
  *,
  max_users: int | None = None,
  seed: int = 0,
) -> Iterator[Requests]:
  """Requests for the targets of a part that were taken, in user order.

  Args:
    histories: a prepared data set.
    watched: bound to it.
    part: "validation" or "test".
    batch_size: requests at a time; the last batch may be smaller.
    max_users: draw this many users (seeded, without replacement); None = all.
    seed: of that draw.
  """
  only = dataclasses.replace(watched, only_taken=True)
  users = np.arange(len(histories))
  if max_users is not None and max_users < len(users):
    users = np.random.default_rng(seed).permutation(users)
  rows, ends, asked = [], [], 0
  for user in users:
    record = histories[int(user)]
    places = histories.split.targets(record, part)
    places = places[only.targets(record)[places]]
    if not len(places):
      continue
    begins = only.ends(record)
    for place in places:
      rows.append((record, int(place)))
      ends.append(int(begins[place]))
      if len(rows) == batch_size:
        yield _asked(rows, ends)
        rows, ends = [], []
    asked += 1
    if max_users is not None and asked == max_users:
      break
  if rows:
    yield _asked(rows, ends)


def _asked(rows, ends) -> Requests:
  """Requests whose histories end where they were made."""
  history = [
    cut(record, end) for (record, _), end in zip(rows, ends, strict=True)
  ]
  times = [
    record["time"][end] if "time" in record else 0
    for (record, _), end in zip(rows, ends, strict=True)
  ]
  return dataclasses.replace(
    make_requests(rows), history=history, query_time=np.array(times, np.int32)
  )
