# SPDX-License-Identifier: Apache-2.0
"""What is left out when more is asked than can be computed, step by step.

    full              as offline
    short_history     the last few events alone
    few_candidates    and fewer items for the second stage
    retrieval_only    and no second stage
    popular           no model at all

Each step holds the savings of those before it. A request takes the last step
that its kind has and that the load asks for; the answer says which.
"""

from collections.abc import Sequence
import dataclasses

FULL, SHORT_HISTORY, FEW_CANDIDATES, RETRIEVAL_ONLY, POPULAR = (
  "full",
  "short_history",
  "few_candidates",
  "retrieval_only",
  "popular",
)
STEPS = (FULL, SHORT_HISTORY, FEW_CANDIDATES, RETRIEVAL_ONLY, POPULAR)


@dataclasses.dataclass(frozen=True)
class Ladder:
  """At what load which step is taken.

  Attributes:
    fills: shares of the queue that wait when the steps behind the first begin,
      ascending; above 1 a step is never taken.
  """

  fills: tuple[float, ...] = (0.5, 0.65, 0.8, 0.95)

  def __post_init__(self):
    if len(self.fills) != len(STEPS) - 1 or [*self.fills] != sorted(self.fills):
      raise ValueError(
        f"fills={self.fills} must be {len(STEPS) - 1} shares that ascend, one"
        f" for each of {STEPS[1:]}."
      )

  def step(self, waiting: int, most: int, steps: Sequence[str]) -> str:
    """The step of a batch.

    Args:
      waiting: requests that wait, the batch among them.
      most: that may wait.
      steps: of STEPS that the batch has, in their order.
    """
    fill = waiting / most
    reached = STEPS[: 1 + sum(fill >= least for least in self.fills)]
    return [step for step in steps if step in reached][-1]
