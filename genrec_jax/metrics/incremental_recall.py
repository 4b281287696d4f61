# SPDX-License-Identifier: Apache-2.0
"""What a retriever finds that others do not: incremental recall at K.

With E_K and N_K the first K items of the ensemble's list and of the new one's,
R the relevant items of a request and h(A) = |A n R| / |R|,

    r_inc@K        h(N_K u E_K) - h(E_K)                    slots are added
    r_inc_fixed@K  h(E_{K-k} u N'_k) - h(E_K)               k slots are replaced

where N'_k are the first k items of the new list that E_{K-k} does not have; a
list of the ensemble that is shorter leaves more places to them. Adding slots
cannot hurt; replacing them can, and r_inc_fixed <= r_inc for every request.
Ties count against the new list, as everywhere (metrics/ranking.py): it needs
one place more than K. All are of the whole catalogue, float64, one value a
request; a mean is over requests.
"""

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.metrics.ranking import MISS, rank_of_target

NAMES = ("ensemble", "model", "union", "fixed", "r_inc", "r_inc_fixed")


def per_request(
  ids_BK: Int[np.ndarray, "B K"],
  scores_BK: Float[np.ndarray, "B K"],
  ensemble_BE: Int[np.ndarray, "B E"],
  relevant_BT: Int[np.ndarray, "B T"],
  k: int,
  slots: int,
) -> dict[str, Float[np.ndarray, "B"]]:
  """Recalls at k of each request: NAMES, each with "@k".

  Args:
    ids_BK: the new list, best first; K > k, a place of id 0 and -inf where the
      catalogue has no more.
    scores_BK: its scores.
    ensemble_BE: the ensemble's list, different items, 0 behind them.
    relevant_BT: different items that are relevant, at least one; 0 = none.
    k: the cut-off.
    slots: places that are replaced.

  Raises:
    ValueError: slots that are not among the k places, a list that is too short,
      or a request without a relevant item.
  """
  if not 0 <= slots <= k:
    raise ValueError(f"slots={slots} must be from 0 to the k={k} of a list.")
  if ids_BK.shape[1] <= k:
    raise ValueError(
      f"lists of {ids_BK.shape[1]} places cannot tell ties at k={k}: fetch"
      f" {k + 1}."
    )
  wanted_BT = relevant_BT > 0
  if not wanted_BT.any(axis=1).all():
    row = int(np.argmin(wanted_BT.any(axis=1)))
    raise ValueError(f"request {row} has no relevant item.")
  ensemble_BE = ensemble_BE[:, :k]
  filled_BE = ensemble_BE > 0
  place_BE = np.cumsum(filled_BE, axis=1)
  kept_BE = np.where(filled_BE & (place_BE <= k - slots), ensemble_BE, 0)
  free_B = k - (kept_BE > 0).sum(axis=1)
  rest_BK = ~_among(ids_BK, kept_BE)
  hits = {name: np.zeros(wanted_BT.shape, bool) for name in NAMES[:4]}
  for t, target_B in enumerate(relevant_BT.T):
    rank_B = rank_of_target(ids_BK, scores_BK, target_B)
    found = rank_B <= k
    there = (ensemble_BE == target_B[:, None]).any(axis=1)
    kept = (kept_BE == target_B[:, None]).any(axis=1)
    # How many of the rest are no worse than the target.
    score_B1 = np.where(ids_BK == target_B[:, None], scores_BK, -np.inf)
    score_B1 = score_B1.max(axis=1, keepdims=True)
    ahead_B = (rest_BK & (scores_BK >= score_B1)).sum(axis=1)
    fits = (rank_B != MISS) & (ahead_B <= free_B)
    hits["ensemble"][:, t] = there
    hits["model"][:, t] = found
    hits["union"][:, t] = there | found
    hits["fixed"][:, t] = kept | (fits & ~kept)
  total_B = wanted_BT.sum(axis=1)
  recall = {
    name: (hit_BT & wanted_BT).sum(axis=1) / total_B
    for name, hit_BT in hits.items()
  }
  recall["r_inc"] = recall["union"] - recall["ensemble"]
  recall["r_inc_fixed"] = recall["fixed"] - recall["ensemble"]
  return {f"{name}@{k}": recall[name] for name in NAMES}


def _among(ids_BK: Int[np.ndarray, "B K"], kept_BE: Int[np.ndarray, "B E"]):
  """Which ids stand in their request's list; False for 0."""
  same_BKE = ids_BK[:, :, None] == kept_BE[:, None, :]
  return (same_BKE & (ids_BK > 0)[:, :, None]).any(axis=2)
