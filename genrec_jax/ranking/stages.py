# SPDX-License-Identifier: Apache-2.0
"""Any number of rankers one after the other: retrieve, pre-rank, rank.

    stages = [RankingStage(light, 500), RankingStage(heavy, 100)]
    search = staged(retrieve, histories, stages)

Each stage is a TwoStage behind the search before it, so each orders what the
one before finds and passes its best on. What a stage says of itself has beside
it, as "retrieved", what the search before it said. Re-ranking a list by a rule
is a policy's (ranking/slates.py).
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.ranking.two_stage import SecondStage, TwoStage


@dataclasses.dataclass(frozen=True)
class RankingStage:
  """A ranker behind whatever finds items.

  Attributes:
    ranker: what orders.
    num_candidates: items that it is given; more where more are asked for.
    weights: of the value that it orders by; "" = its own.
  """

  ranker: SecondStage
  num_candidates: int
  weights: Any = ""

  def fewer(self, share: int) -> "RankingStage":
    """The same with one of so many candidates, at least one."""
    count = max(1, self.num_candidates // share)
    return dataclasses.replace(self, num_candidates=count)


def staged(
  retrieve: Search, histories: Histories, stages: Sequence[RankingStage]
) -> Search:
  """A search whose items pass through all stages, the first one first.

  Args:
    retrieve: finds items.
    histories: of its data set.
    stages: behind it; without any it is what there was.

  Raises:
    ValueError: a ranker of other data or without such weights, or a stage that
      is given more items than the one before it passes on.
  """
  counts = [stage.num_candidates for stage in stages]
  if counts != sorted(counts, reverse=True):
    raise ValueError(
      f"stages are given {counts} candidates: each orders what the one before"
      " it passes on, and cannot be given more."
    )
  search = retrieve
  for stage in stages:
    search = TwoStage.of(
      search, histories, stage.ranker, stage.num_candidates, stage.weights
    )
  return search


def said_by_first(said: Mapping[str, Any], stages: int) -> Mapping[str, Any]:
  """What the search before all stages said, of what the last one says."""
  for _ in range(stages):
    said = said["retrieved"]
  return said
