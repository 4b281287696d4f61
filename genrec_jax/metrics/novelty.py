# SPDX-License-Identifier: Apache-2.0
"""How popular the items of a list are, and how novel: one value per list.

With n(i) the users and c(i) the events of item i in training, |U| all users of
it, and means over the n_u filled places of a list:

    MIUF  = mean -log2(max(n(i), 1) / |U|)     an item without users counts one
    ARP   = mean c(i)                          an item without events counts 0
    lift  = (ARP(list) - ARP(history)) / ARP(history)
    tail  = mean 1[i is no head item]          ItemCounts.head; APLT

Conventions of MIUF and ARP as RecTools 0.19 (MeanInvUserFreq,
AvgRecPopularity); popularity lift: Abdollahpouri et al., RMSE 2019; tail:
Abdollahpouri et al., FLAIRS 2019. The order within a list has no say.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.metrics.lists import mean_of_places


def inverse_user_frequency(
  lists_UK: Int[np.ndarray, "U K"],
  users_V1: Int[np.ndarray, "V1"],
  num_users: int,
) -> Float[np.ndarray, "U"]:
  """Returns MIUF in bits; NaN for lists without items.

  Args:
    lists_UK: see metrics/lists.py.
    users_V1: training users of each item.
    num_users: all training users.
  """
  if num_users < 1:
    raise ValueError(
      f"num_users={num_users}: novelty is relative to the users of the"
      " training part, of whom there must be one at least"
    )
  bits_V1 = -np.log2(np.maximum(users_V1, 1) / num_users)
  return mean_of_places(bits_V1[np.maximum(lists_UK, 0)], lists_UK > 0)


def average_popularity(
  lists_UK: Int[np.ndarray, "U K"], events_V1: Int[np.ndarray, "V1"]
) -> Float[np.ndarray, "U"]:
  """Returns ARP in training events per item; NaN for lists without items."""
  counts_UK = events_V1[np.maximum(lists_UK, 0)].astype(np.float64)
  return mean_of_places(counts_UK, lists_UK > 0)


def history_popularity(
  histories: Sequence[Int[np.ndarray, "_"]], events_V1: Int[np.ndarray, "V1"]
) -> Float[np.ndarray, "U"]:
  """Returns ARP of each history; NaN for empty ones.

  Every event counts, an item that was taken twice two times.
  """
  return np.array(
    [events_V1[items].mean() if len(items) else np.nan for items in histories],
    np.float64,
  )


def popularity_lift(
  list_U: Float[np.ndarray, "U"], history_U: Float[np.ndarray, "U"]
) -> Float[np.ndarray, "U"]:
  """Returns the lift of ARP over that of the history.

  NaN where either is, and where no item of the history has training events.
  """
  base_U = np.where(history_U > 0, history_U, np.nan)
  return (list_U - base_U) / base_U


def tail_share(
  lists_UK: Int[np.ndarray, "U K"], head_V1: Bool[np.ndarray, "V1"]
) -> Float[np.ndarray, "U"]:
  """Returns the share of places with no head item; NaN without items."""
  is_tail_UK = ~head_V1[np.maximum(lists_UK, 0)]
  return mean_of_places(is_tail_UK.astype(np.float64), lists_UK > 0)
