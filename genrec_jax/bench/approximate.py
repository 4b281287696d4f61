# SPDX-License-Identifier: Apache-2.0
"""ScaNN against exact search: recall and speed on the same cores.

Vectors are made of a trained run's (bench/resampled.py). Half of the queries
tune the index (retrieval/tuning.py) to a recall, with a margin; the other half
is searched by both, batch by batch in turns, and measures recall and seconds.
"""

import statistics
import time
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.bench.resampled import resampled
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.tuning import recall_of, tuned

# Queries that tune, and as many that measure; what recall varies by between.
QUERIES = 256
_MARGIN = 0.005


def time_approximate(
  *,
  workdir: str,
  num_items: int,
  k: int,
  recall: float,
  batch_size: int,
  turns: int,
) -> dict[str, Any]:
  """Seconds of a batch, exact and approximate, and what recall was reached.

  Args:
    workdir: of a trained run with item vectors.
    num_items: V.
    k: places of a list.
    recall: to be reached.
    batch_size: queries at a time.
    turns: timed batches of each, at most those of the queries that measure.

  Raises:
    ValueError: too few queries, or a recall that is not reached.
  """
  made = resampled(workdir, num_items, 2 * QUERIES)
  query = made.query_QD.astype(np.float32)
  exact = BruteForce.build(made.items_VD)
  half = len(query) // 2
  if half < batch_size:
    raise ValueError(
      f"there are {len(query)} queries, and batches of {batch_size} of one half"
      " of them: take a smaller --batch_size."
    )
  started = time.perf_counter()
  index = Scann.build(made.items_VD)
  build_seconds = time.perf_counter() - started
  wanted = exact_lists(exact, query[:half], k, batch_size)
  index, trials = tuned(index, query[:half], wanted, min(recall + _MARGIN, 1))
  seconds: dict[str, list[float]] = {"exact": [], "scann": []}
  reached, searched = [], {"exact": exact, "scann": index}
  places = range(half, len(query) - batch_size + 1, batch_size)
  for start in list(places)[:turns]:
    lists = {}
    for name, one in searched.items():
      began = time.perf_counter()
      ids, _, _ = one.search(query[start : start + batch_size], k)
      lists[name] = np.asarray(ids)
      seconds[name].append(time.perf_counter() - began)
    reached.append(recall_of(lists["scann"], lists["exact"]))
  exact_s, scann_s = (statistics.median(s) for s in seconds.values())
  chosen = min(
    (t for t in trials if t.recall >= min(recall + _MARGIN, 1)),
    key=lambda trial: trial.seconds,
  )
  return {
    **made.facts,
    f"recall@{k}": round(float(np.mean(reached)), 4),
    "queries_per_second": round(batch_size / scann_s, 1),
    "exact_queries_per_second": round(batch_size / exact_s, 1),
    "times_exact": round(exact_s / scann_s, 2),
    "build_seconds": round(build_seconds, 1),
    "leaf_share": chosen.leaf_share,
    "reorder": chosen.reorder,
    "settings_tried": len(trials),
    "batch_size": batch_size,
    "batches": len(reached),
  }


def exact_lists(
  exact: BruteForce,
  query_QD: Float[np.ndarray, "Q D"],
  k: int,
  batch_size: int,
) -> Int[np.ndarray, "Q K"]:
  """Ids of the k best of every query, in batches."""
  found = [
    np.asarray(exact.search(query_QD[start : start + batch_size], k)[0])
    for start in range(0, len(query_QD), batch_size)
  ]
  return np.concatenate(found)
