# SPDX-License-Identifier: Apache-2.0
"""What a paged cache of histories holds, and how often it has who comes.

    memory       places of padded rows, of pages and of the events themselves
    Requests     who asks, one after the other, and how many pages each then has
    lru_share    requests that find their user's pages, by walking through them
    expected     the same by Che's approximation (genrec_jax/paging/hit_rate.py)
    precomputed  lists that are made ahead, in place of one a request

Of a history the last event is never kept: it asks at the request's own time. So
a user of L events has ceil((min(L, N) - 1) / page) pages in a model that reads
N. Evictions are of whole users, who was asked for longest ago first, as in
genrec_jax/paging/page_tables.py.
"""

import collections
from collections.abc import Sequence
import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.paging import lru_hit_rate

PAGE_SIZES = (16, 32, 64, 128)
# Shares of the users that there is room for.
ROOMS = (0.01, 0.05, 0.1, 0.25, 0.5)
# What comes first fills the cache, and does not count.
_WARM = 0.25


def kept(length_U: Int[np.ndarray, "U"], window: int) -> Int[np.ndarray, "U"]:
  """Events of each user that are kept."""
  return np.maximum(np.minimum(length_U, window) - 1, 0)


def pages(
  length_U: Int[np.ndarray, "U"], window: int, page: int
) -> Int[np.ndarray, "U"]:
  """Pages of each user."""
  return -(-kept(length_U, window) // page)


def memory(length_U: Int[np.ndarray, "U"], window: int) -> dict[str, Any]:
  """Places that all users take, and shares of what is not wasted.

  Args:
    length_U: events of each user.
    window: N, that the model reads, and that a padded row has.
  """
  needed = int(kept(length_U, window).sum())
  padded = len(length_U) * window
  found: dict[str, Any] = {
    "users": len(length_U),
    "window": window,
    "needed": needed,
    "padded": {"places": padded, "used": round(needed / padded, 4)},
  }
  for page in PAGE_SIZES:
    places = page * int(pages(length_U, window, page).sum())
    found[f"pages of {page}"] = {
      "places": places,
      "used": round(needed / max(1, places), 4),
      "padded_times": round(padded / max(1, places), 2),
    }
  return found


@dataclasses.dataclass(frozen=True)
class Requests:
  """Requests in the order in which they come.

  Attributes:
    user_N: who asks.
    pages_N: that the user has from then on.
  """

  user_N: Int[np.ndarray, "N"]
  pages_N: Int[np.ndarray, "N"]

  def __len__(self) -> int:
    return len(self.user_N)


def independent(
  rate_U: Float[np.ndarray, "U"],
  pages_U: Int[np.ndarray, "U"],
  count: int,
  seed: int = 0,
) -> Requests:
  """Requests that know nothing of those before, by users of fixed sizes."""
  draw = np.random.default_rng(seed)
  user_N = draw.choice(len(rate_U), count, p=rate_U / rate_U.sum())
  return Requests(user_N, pages_U[user_N])


def visits(
  user_E: Int[np.ndarray, "E"],
  time_E: Int[np.ndarray, "E"],
  window: int,
  page: int,
  gap_seconds: float | int,
) -> Requests:
  """A request at the first event of every visit, in order of time.

  Args:
    user_E: of the events of a log, each user's in order.
    time_E: seconds.
    window, page: of the model and of the cache.
    gap_seconds: a visit ends where a user does nothing for longer; 0 = each
      event is a request.
  """
  order_E = np.lexsort((np.arange(len(user_E)), time_E))
  seen: collections.Counter[int] = collections.Counter()
  last: dict[int, int] = {}
  users, lengths = [], []
  for event in order_E.tolist():
    user, time = int(user_E[event]), int(time_E[event])
    if user not in last or not gap_seconds or time - last[user] > gap_seconds:
      users.append(user)
      # What came before is what is read; the last of it asks.
      lengths.append(seen[user])
    seen[user] += 1
    last[user] = time
  length_N = np.array(lengths, np.int64)
  return Requests(np.array(users, np.int64), pages(length_N, window, page))


def lru_share(requests: Requests, room: float | int) -> float:
  """Share of the requests that find pages of their user.

  Args:
    requests: see Requests; the first quarter of them does not count.
    room: pages.
  """
  cache: collections.OrderedDict[int, int] = collections.OrderedDict()
  used, hits, first = 0, 0, int(_WARM * len(requests))
  pairs = zip(requests.user_N.tolist(), requests.pages_N.tolist(), strict=True)
  for place, (user, size) in enumerate(pairs):
    hits += place >= first and cache.get(user, 0) > 0
    # Who does not fit at all leaves what there was.
    if size > room:
      continue
    used += size - cache.pop(user, 0)
    cache[user] = size
    while used > room:
      used -= cache.popitem(last=False)[1]
  return hits / max(1, len(requests) - first)


def expected(
  rate_U: Float[np.ndarray, "U"], pages_U: Int[np.ndarray, "U"], room: float
) -> float:
  """What lru_share of `independent` requests is by Che's approximation.

  Who has no page is never there.
  """
  there = pages_U > 0
  if not there.any():
    return 0.0
  found = lru_hit_rate(rate_U[there], room, pages_U[there])
  return found * float(rate_U[there].sum() / rate_U.sum())


def curve(
  rate_U: Float[np.ndarray, "U"],
  pages_U: Int[np.ndarray, "U"],
  count: int,
  seed: int = 0,
) -> list[dict[str, float]]:
  """Both shares by room, of `count` independent requests."""
  requests = independent(rate_U, pages_U, count, seed)
  total = float(pages_U.sum())
  return [
    {
      "room": share,
      "simulated": round(lru_share(requests, share * total), 4),
      "expected": round(expected(rate_U, pages_U, share * total), 4),
    }
    for share in ROOMS
  ]


def trace_curve(
  requests: Requests, num_users: int, rooms: Sequence[float] = ROOMS
) -> dict[str, Any]:
  """Shares by room of the requests of a log, beside those of requests at the
  same rates that know nothing of each other.

  The room is a share of the pages that all users have in the end.
  """
  rate_U = np.bincount(requests.user_N, minlength=num_users).astype(float)
  pages_U = np.zeros(num_users, np.int64)
  # The last value of each user stays.
  pages_U[requests.user_N] = requests.pages_N
  total = float(pages_U.sum())
  again = int((rate_U > 1).sum())
  return {
    "requests": len(requests),
    "users": int((rate_U > 0).sum()),
    "users_who_come_again": again,
    "first_requests": round(int((rate_U > 0).sum()) / len(requests), 4),
    "rooms": [
      {
        "room": share,
        "log": round(lru_share(requests, share * total), 4),
        "independent": round(expected(rate_U, pages_U, share * total), 4),
      }
      for share in rooms
    ],
  }


def precomputed(
  users: int, requests_per_day: float, batch_times: float, per_day: float = 1.0
) -> float:
  """Share of the computation that is saved by lists that are made ahead, below
  0 where that costs more.

  Args:
    users: who get a list.
    requests_per_day: of all of them.
    batch_times: how many times cheaper a list is where many are made at once.
    per_day: how often lists are made anew.
  """
  return 1 - per_day * users / (batch_times * requests_per_day)
