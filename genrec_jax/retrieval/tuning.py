# SPDX-License-Identifier: Apache-2.0
"""Settings of ScaNN that reach a recall, measured on queries.

    recall@k = share of the exact k best that are in ScaNN's k

The share of clusters that a query looks at and the number of items that are
re-scored exactly are settings of a search, so one index serves all trials.
They go up from the cheapest ones; among those that reach the recall the
quickest on these queries is taken.
"""

import dataclasses
import time

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.retrieval.scann import Scann

LEAF_SHARES = (0.03, 0.04, 0.05, 0.06, 0.09, 0.125, 0.17, 0.25, 0.5)
REORDER = (2, 4, 8, 12, 16, 20, 32)


@dataclasses.dataclass(frozen=True)
class Trial:
  """A setting and what it reached.

  Attributes:
    leaf_share: of the clusters, looked at.
    reorder: items re-scored exactly, for each place of the list.
    recall: of the first k.
    seconds: of the queries.
  """

  leaf_share: float
  reorder: int
  recall: float
  seconds: float


def recall_of(
  ids_QK: Int[np.ndarray, "Q K"], exact_QK: Int[np.ndarray, "Q K"]
) -> float:
  """Share of the exact lists' items that the lists have; 1 of no items."""
  pairs = zip(ids_QK.tolist(), exact_QK.tolist(), strict=True)
  found = sum(len({*a} & {*b} - {0}) for a, b in pairs)
  return found / max(int((exact_QK > 0).sum()), 1) if exact_QK.any() else 1.0


def tuned(
  index: Scann,
  query_QD: Float[np.ndarray, "Q D"],
  exact_QK: Int[np.ndarray, "Q K"],
  recall: float,
) -> tuple[Scann, list[Trial]]:
  """The index with the quickest setting that reaches a recall, and all trials.

  Args:
    index: over the items.
    query_QD: like those that will be asked.
    exact_QK: ids of their k best items, as brute force gives them.
    recall: to be reached.

  Raises:
    ValueError: no setting reaches it (says the best).
  """
  if not 0 < recall <= 1:
    raise ValueError(f"recall={recall} must be above 0 and at most 1.")
  trials = []
  for share in LEAF_SHARES:
    for reorder in REORDER:
      trial = _tried(index, query_QD, exact_QK, share, reorder)
      trials.append(trial)
      if trial.recall >= recall:
        break  # More of it would only take longer.
  enough = [t for t in trials if t.recall >= recall]
  if not enough:
    best = max(trials, key=lambda trial: trial.recall)
    raise ValueError(
      f"recall@{exact_QK.shape[1]} of {recall} is not reached: the best of"
      f" {len(trials)} settings has {best.recall:.3f}. Ask for less, or search"
      " by brute force."
    )
  best = min(enough, key=lambda trial: trial.seconds)
  return index.with_setting(best.leaf_share, best.reorder), trials


def _tried(index, query_QD, exact_QK, share, reorder) -> Trial:
  tried = index.with_setting(share, reorder)
  started = time.perf_counter()
  ids_QK, _, _ = tried.search(query_QD, exact_QK.shape[1])
  seconds = time.perf_counter() - started
  return Trial(share, reorder, recall_of(ids_QK, exact_QK), seconds)
