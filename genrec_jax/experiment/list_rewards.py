# SPDX-License-Identifier: Apache-2.0
"""What a trained run says of whole lists, and the best of N by it.

reward = ListRewards("runs/reward").open(run.histories)
search = best_of_lists(run, params, reward)      a Search of run's model

Of the N lists that a model writes (config.retrieval, such as
retrieval.BeamLists) the one of the highest reward is returned. A reward's own
figure says nothing of what it is good for: its lists are measured like any
others, on users that it was not trained on.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, Int, UInt32
import numpy as np

from genrec_jax.core import finite, seams
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.lists import Lists
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import check_same_items, load_params
from genrec_jax.retrieval.model_search import padded
from genrec_jax.retrieval.strategy import BoundModel, Found, SearchItems

# (requests, lists (B, N, J)) -> rewards (B, N).
Rewards = Callable[[Requests, Int[np.ndarray, "B N J"]], np.ndarray]


@runtime_checkable
class ListStrategy(Protocol):
  """A search that finds several lists, of which it returns the best."""

  list_size: int
  num_beams: int

  def lists(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Lists:
    """All lists, best first."""


@dataclasses.dataclass(frozen=True)
class ListRewards:
  """A run of a reward model, of the same data.

  Attributes:
    workdir: of the run; "" = the last that config.before names.
    checkpoint: "best" or "latest".
  """

  workdir: str
  checkpoint: str = "best"

  def open(self, histories: HistorySource) -> Rewards:
    """Loads the run.

    Raises:
      ValueError: no checkpoint, no reward model, or one of other data.
    """
    run = Run.open(self.workdir)
    check_rewards(run)
    check_same_items(run, histories, "the reward model")
    return rewards_of(run, load_params(run, self.checkpoint).params)


def check_rewards(run: Run) -> None:
  """Raises a ValueError where a run says nothing of lists."""
  seams.require(run.system, seams.ListRewardModel, "config.system")
  layout = run.pipeline.layout
  for kind in (seams.RetrievalLayout, seams.ListLayout):
    seams.require(layout, kind, "config.pipeline.layout")


def rewards_of(run: Run, params: Any) -> Rewards:
  """A run's model with these parameters, asked in batches of one size."""
  apply = jax.jit(
    lambda params, batch, lists: run.system.apply(
      {"params": params}, batch, lists, method="reward"
    )
  )

  def rewards(
    requests: Requests, lists_BNJ: Int[np.ndarray, "B N J"]
  ) -> Float[np.ndarray, "B N"]:
    count, size = len(requests), run.requests.batch_size
    requests, _ = padded(requests, None, size)
    pad = ((0, size - count), (0, 0), (0, 0))
    batch = run.pipeline.layout.request_batch(requests)
    lists_BNJ = np.pad(lists_BNJ, pad).astype(np.int32)
    found = np.asarray(apply(params, batch, lists_BNJ))[:count]
    finite.check_scores(found)
    return found

  return rewards


@dataclasses.dataclass(frozen=True)
class _AllLists:
  """All lists of a strategy, their items one behind the other."""

  strategy: ListStrategy

  needs: ClassVar[tuple[type, ...]] = (seams.ListModel,)

  @property
  def num_results(self) -> int:
    """N J."""
    return self.strategy.num_beams * self.strategy.list_size

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    found = self.strategy.lists(model, items, allowed_BW)
    rows, width = found.ids_BKJ.shape[0], self.num_results
    return (
      found.ids_BKJ.reshape(rows, width),
      found.up_to_BKJ.reshape(rows, width),
      found.codes_BKJM.reshape(rows, width, -1),
    )


@dataclasses.dataclass(frozen=True)
class BestOfLists:
  """A Search: the list of the highest reward of those that a search finds.

  The first of equal rewards, which is the more probable, is taken.

  Attributes:
    search: gives N lists of J items each, one behind the other.
    rewards: of lists.
    list_size: J.
    num_lists: N.
  """

  search: Callable[..., tuple[np.ndarray, np.ndarray, dict[str, Any]]]
  rewards: Rewards
  list_size: int
  num_lists: int

  def __call__(
    self, requests: Requests, k: int, allowed: ItemMask | None = None
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Ids and scores (B, k) of the list, and the rewards (B, N) of all.

    Scores are log p of the list as far as each item.
    """
    width = self.num_lists * self.list_size
    ids, scores, _ = self.search(requests, width, allowed)
    shape = (len(requests), self.num_lists, self.list_size)
    lists_BNJ, scores_BNJ = ids.reshape(shape), scores.reshape(shape)
    there_BN = lists_BNJ[:, :, 0] > 0
    rewards_BN = self.rewards(requests, lists_BNJ)
    rewards_BN = np.where(there_BN, rewards_BN, -np.inf)
    best_B = np.argmax(rewards_BN, axis=1)[:, None, None]
    ids_BJ, scores_BJ = (
      np.take_along_axis(x, best_B, axis=1)[:, 0, :k]
      for x in (lists_BNJ, scores_BNJ)
    )
    missing = ((0, 0), (0, max(0, k - self.list_size)))
    return (
      np.pad(ids_BJ, missing),
      np.pad(scores_BJ, missing, constant_values=-np.inf),
      {"rewards": rewards_BN, "lists": lists_BNJ},
    )


def best_of_lists(run: Run, params: Any, rewards: Rewards) -> BestOfLists:
  """A run's lists by config.retrieval, of which the best is taken.

  Args:
    run: of a model that writes lists.
    params: on this process's devices.
    rewards: of lists.

  Raises:
    ValueError: a search that finds no lists.
  """
  seams.require(run.retrieval, ListStrategy, "config.retrieval")
  strategy = _AllLists(run.retrieval)
  program = dataclasses.replace(run.program(), retrieval=strategy)
  return BestOfLists(
    run.search(params, program=program),
    rewards,
    run.retrieval.list_size,
    run.retrieval.num_beams,
  )
