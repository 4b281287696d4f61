# SPDX-License-Identifier: Apache-2.0
"""What a version must answer before it may answer anybody.

    golden = golden_of(recommender, 8, 16)      by the offline code
    check(served, golden)                       by the programs that serve
    check_by_engine(engine, served, golden)     while they serve

Lists are equal where scores differ by no more than a rounding and items by no
more than ties. Whoever keeps golden answers with a model gives those instead,
or besides: service/golden_bundle.py has those of an exported run.
"""

from collections.abc import Callable, Sequence
import concurrent.futures
import dataclasses
import itertools
import time
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
import numpy as np

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.service import ladder
from genrec_jax.service.asks import ListAsk, Listed
from genrec_jax.service.engine import LOAD, MODEL_ERROR, Engine
from genrec_jax.service.refused import Refused
from genrec_jax.service.served import Served
from genrec_jax.service.shapes import at_least
from genrec_jax.serving.asking import Asking
from genrec_jax.serving.recommender import Recommender

TOLERANCE = 1e-5
# In which the engine is to answer one of them.
_SECONDS = 10.0


@runtime_checkable
class GoldenAnswer(Protocol):
  """What was asked, and what the answer must be."""

  def ask(self, served: Served) -> Any:
    """A ListAsk or a RankAsk."""

  def difference(self, served: Served, answer: Any) -> float:
    """The largest difference of a score.

    Raises:
      ValueError: it is more than rounding, or the list another one.
    """


@dataclasses.dataclass(frozen=True)
class Golden:
  """The list of a user of the data set.

  Attributes:
    user: id.
    items: ids, best first.
    scores: of each.
    tolerance: of scores, relative above 1.
  """

  user: str
  items: tuple[str, ...]
  scores: tuple[float, ...]
  tolerance: float = TOLERANCE

  def ask(self, served: Served) -> ListAsk:
    """Behind what the data set has of the user."""
    at_the_end = served.two_stage
    asking = Asking(
      served.histories, served.catalog, served.users, at_the_end=at_the_end
    )
    record = asking.record(self.user, strict=True)
    requests = asking.requests([record])
    hidden = record["item"] if served.filter_history else record["item"][:0]
    return ListAsk(
      self.user,
      record,
      int(requests.query_time[0]),
      ItemMask.all_but([hidden], served.catalog.num_items),
      at_least(served.shapes.lists, len(self.items)),
      by_model=len(record["item"]) > 0,
    )

  def difference(self, served: Served, answer: Listed) -> float:
    """See GoldenAnswer."""
    count = len(self.items)
    expected = np.array(self.scores, np.float64)
    found = answer.scores_K[:count].astype(np.float64)
    items = [served.catalog.ids[i] for i in answer.ids_K[:count]]
    if len(found) < count:
      raise ValueError(
        f"parity: the list of user {self.user!r} has {len(found)} of {count}"
        " items. The version is not taken."
      )
    apart = np.abs(found - expected)
    wrong = apart > self._rounding(expected)
    for place, (mine, theirs) in enumerate(zip(items, self.items, strict=True)):
      if mine != theirs:
        wrong[place] |= not self._tied(mine, place, expected)
    if wrong.any():
      place = int(np.flatnonzero(wrong)[0])
      raise ValueError(
        f"parity: place {place + 1} of user {self.user!r} is {items[place]!r}"
        f" with {found[place]:.6g}, and offline {self.items[place]!r} with"
        f" {expected[place]:.6g}. The version is not taken."
      )
    return float(apart.max(initial=0.0))

  def _tied(
    self, item: str, place: int, expected: Float[np.ndarray, "K"]
  ) -> bool:
    """Whether an item may stand at a place: where it stands offline, or behind
    the end of that list, the score is the same."""
    other = len(expected) - 1
    if item in self.items:
      other = self.items.index(item)
    apart = abs(expected[other] - expected[place])
    return bool(apart <= 2 * self._rounding(expected[place]))

  def _rounding(self, scores):
    return self.tolerance * (1 + np.abs(scores))


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


def check(served: Served, golden: Sequence[GoldenAnswer]) -> float:
  """Asks all of them together; the largest difference of a score.

  Raises:
    ValueError: an answer is another one (says whose, and how).
  """
  return _largest(served, golden, lambda asks: _together(served, asks))


def check_by_engine(
  engine: Engine, served: Served, golden: Sequence[GoldenAnswer]
) -> float:
  """The same of a version that may answer others meanwhile, one by one.

  Raises:
    ValueError: an answer is another one, or the model fails.
    Refused: there is too much to do just now.
  """
  return _largest(
    served, golden, lambda asks: [_in_turn(engine, served, a) for a in asks]
  )


def _largest(
  served: Served,
  golden: Sequence[GoldenAnswer],
  answers_of: Callable[[list[Any]], list[Any]],
) -> float:
  answers = answers_of([one.ask(served) for one in golden])
  return max(
    (
      one.difference(served, answer)
      for one, answer in zip(golden, answers, strict=True)
    ),
    default=0.0,
  )


def _together(served: Served, asks: list[Any]) -> list[Any]:
  """In as few batches as there can be of asks that stand side by side."""
  found: list[Any] = []
  for _, alike in itertools.groupby(asks, key=lambda ask: ask.kind):
    mine = list(alike)
    for start in range(0, len(mine), served.max_batch):
      some = mine[start : start + served.max_batch]
      found += served.answer(some, ladder.FULL)
  return found


def _in_turn(engine: Engine, served: Served, ask: Any) -> Any:
  future = engine.submit(served, ask, time.monotonic() + _SECONDS)
  try:
    done = future.result(2 * _SECONDS)
  except Refused as refused:
    if refused.reason == MODEL_ERROR:
      raise ValueError(f"parity: {refused} The version is not taken.") from None
    raise
  except concurrent.futures.TimeoutError:
    future.cancel()
    raise _busy() from None
  if done.why == LOAD:
    raise _busy()
  if done.why is not None:
    raise ValueError(
      f"parity: the model fails on a golden request ({done.why}). The version"
      " is not taken."
    )
  return done.answer


def _busy() -> Refused:
  return Refused(
    503, "busy", "too much is asked to compare golden answers: ask later.", 1.0
  )
