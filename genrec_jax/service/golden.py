# SPDX-License-Identifier: Apache-2.0
"""What a version must answer before it may answer anybody.

    golden = golden_of(recommender, 8, 16)      by the offline code
    check(served, golden)                       by the programs that serve

Lists are equal where scores differ by no more than a rounding and items by no
more than ties. Whoever keeps golden answers with a model gives those instead.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Float
import numpy as np

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.service import ladder
from genrec_jax.service.asks import ListAsk, Listed
from genrec_jax.service.served import Served
from genrec_jax.service.shapes import at_least
from genrec_jax.serving.asking import Asking
from genrec_jax.serving.recommender import Recommender

TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Golden:
  """The list of a user of the data set.

  Attributes:
    user: id.
    items: ids, best first.
    scores: of each.
  """

  user: str
  items: tuple[str, ...]
  scores: tuple[float, ...]


def golden_of(
  model: Recommender, num_users: int, places: int
) -> tuple[Golden, ...]:
  """Lists of some users, those of longest and shortest histories among them."""
  order = np.argsort(model.users.events, kind="stable")
  count = min(num_users, len(order))
  chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
  found = []
  for place in np.unique(chosen).tolist():
    user, left = model.users.ids[place], model.catalog.num_items
    if model.filter_history:
      left -= len(np.unique(model.record(user)["item"]))
    if not left:
      continue
    # No more than there are, so that nothing is to be warned of.
    table = model.recommend(user, k=min(places, left))
    found.append(
      Golden(user, tuple(table["item_id"]), tuple(table["score"].to_list()))
    )
  return tuple(found)


def check(served: Served, golden: Sequence[Golden]) -> float:
  """Asks all of them together; the largest difference of a score.

  Raises:
    ValueError: a list is another one (says whose, and how).
  """
  largest = 0.0
  for start in range(0, len(golden), served.max_batch):
    some = golden[start : start + served.max_batch]
    lists = served.answer([_ask(served, one) for one in some], ladder.FULL)
    for one, listed in zip(some, lists, strict=True):
      largest = max(largest, _difference(served, one, listed))
  return largest


def _ask(served: Served, golden: Golden) -> ListAsk:
  at_the_end = served.two_stage
  asking = Asking(
    served.histories, served.catalog, served.users, at_the_end=at_the_end
  )
  record = asking.record(golden.user, strict=True)
  requests = asking.requests([record])
  hidden = record["item"] if served.filter_history else record["item"][:0]
  return ListAsk(
    golden.user,
    record,
    int(requests.query_time[0]),
    ItemMask.all_but([hidden], served.catalog.num_items),
    at_least(served.shapes.lists, len(golden.items)),
    by_model=len(record["item"]) > 0,
  )


def _difference(served: Served, golden: Golden, listed: Listed) -> float:
  count = len(golden.items)
  expected = np.array(golden.scores, np.float64)
  found = listed.scores_K[:count].astype(np.float64)
  items = [served.catalog.ids[i] for i in listed.ids_K[:count]]
  if len(found) < count:
    raise ValueError(
      f"parity: the list of user {golden.user!r} has {len(found)} of {count}"
      " items. The version is not taken."
    )
  apart = np.abs(found - expected)
  wrong = apart > _tolerance(expected)
  for place, (mine, theirs) in enumerate(zip(items, golden.items, strict=True)):
    if mine != theirs:
      wrong[place] |= not _tied(mine, place, golden, expected)
  if wrong.any():
    place = int(np.flatnonzero(wrong)[0])
    raise ValueError(
      f"parity: place {place + 1} of user {golden.user!r} is {items[place]!r}"
      f" with {found[place]:.6g}, and offline {golden.items[place]!r} with"
      f" {expected[place]:.6g}. The version is not taken."
    )
  return float(apart.max(initial=0.0))


def _tied(
  item: str, place: int, golden: Golden, expected: Float[np.ndarray, "K"]
) -> bool:
  """Whether an item may stand at a place: where it stands offline, or behind
  the end of that list, the score is the same."""
  other = len(expected) - 1
  if item in golden.items:
    other = golden.items.index(item)
  apart = abs(expected[other] - expected[place])
  return bool(apart <= 2 * _tolerance(expected[place]))


def _tolerance(scores):
  return TOLERANCE * (1 + np.abs(scores))
