# SPDX-License-Identifier: Apache-2.0
"""Whether a list holds a user's categories in the shares of the history.

With p(g | i) an item's categories in equal shares (or as they are weighed),

    p(g)  = mean of p(g | i) over the events of the history
    q(g)  = mean of p(g | i) over the places of the list
    C_KL  = sum_g p(g) ln(p(g) / ((1 - a) q(g) + a p(g))),    a = 0.01

in nats: 0 where and only where q = p, ln(1 / a) = 4.6 where they share nothing.
Items without a category are left out of both means; without a categorised item
in the history, or in the list, C_KL is not defined (NaN). Repeated items count
every time. Steck, Calibrated Recommendations, RecSys 2018, equations 2, 3, 6.
The matrix of categories is dense, 4 V G bytes: a column for every author of a
large catalogue does not fit, groups such as genres do.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int, Num
import numpy as np

SMOOTHING = 0.01


def category_matrix(
  values: Sequence[object],
) -> tuple[list[str], Float[np.ndarray, "V1 G"]]:
  """Returns names of categories, sorted, and 1 for those an item has.

  Args:
    values: of items 1..V: a category, a sequence of them, or None; '' is none.
  """
  by_item = [
    {str(v) for v in _entries(value) if v is not None} - {""}
    for value in values
  ]
  names = sorted(set().union(*by_item))
  column = {name: g for g, name in enumerate(names)}
  matrix = np.zeros((len(by_item) + 1, len(names)), np.float32)
  for row, found in enumerate(by_item, 1):
    matrix[row, [column[name] for name in found]] = 1
  return names, matrix


def history_shares(
  histories: Sequence[Int[np.ndarray, "_"]],
  categories_V1G: Num[np.ndarray, "V1 G"],
) -> Float[np.ndarray, "U G"]:
  """Returns p of each history; zeros where no event has a category."""
  sums_UG = np.zeros((len(histories), categories_V1G.shape[1]))
  for row, items in enumerate(histories):
    sums_UG[row] = _shares(categories_V1G[items]).sum(axis=0)
  return _shares(sums_UG)


def list_shares(
  lists_UK: Int[np.ndarray, "U K"],
  categories_V1G: Num[np.ndarray, "V1 G"],
  weights_K: Float[np.ndarray, "K"] | None = None,
) -> Float[np.ndarray, "U G"]:
  """Returns q of each list; zeros where no item has a category.

  Args:
    lists_UK: see metrics/lists.py.
    categories_V1G: how much of each category an item has, 0 or more.
    weights_K: how much a place counts; None = all the same.
  """
  sums_UG = np.zeros((len(lists_UK), categories_V1G.shape[1]))
  # A place at a time: (U, K, G) at once may be gigabytes.
  for place, items_U in enumerate(lists_UK.T):
    weight_U = (items_U > 0) * (1.0 if weights_K is None else weights_K[place])
    shares_UG = _shares(categories_V1G[np.maximum(items_U, 0)])
    sums_UG += weight_U[:, None] * shares_UG
  return _shares(sums_UG)


def miscalibration(
  p_UG: Float[np.ndarray, "U G"],
  q_UG: Float[np.ndarray, "U G"],
  smoothing: float = SMOOTHING,
) -> Float[np.ndarray, "U"]:
  """Returns C_KL in nats; NaN where p or q is all zeros.

  Args:
    p_UG: shares in the history, each row of sum 1 or 0.
    q_UG: shares in the list, each row of sum 1 or 0.
    smoothing: a, how much of p is mixed into q.
  """
  if not 0 < smoothing < 1:
    raise ValueError(f"smoothing={smoothing} must lie between 0 and 1")
  mixed_UG = (1 - smoothing) * q_UG + smoothing * p_UG
  held_UG = p_UG > 0
  ratio_UG = np.where(held_UG, p_UG, 1.0) / np.where(held_UG, mixed_UG, 1.0)
  divergence_U = (p_UG * np.log(ratio_UG)).sum(axis=1)
  defined_U = held_UG.any(axis=1) & (q_UG > 0).any(axis=1)
  # Rounding alone takes it below 0.
  return np.where(defined_U, np.maximum(divergence_U, 0.0), np.nan)


def _entries(value: object) -> Sequence[object]:
  is_many = isinstance(value, Sequence | np.ndarray)
  return tuple(value) if is_many and not isinstance(value, str) else (value,)


def _shares(weights_NG: Num[np.ndarray, "N G"]) -> Float[np.ndarray, "N G"]:
  """Rows divided by their sums; rows of zeros stay."""
  total_N1 = weights_NG.sum(axis=1, keepdims=True, dtype=np.float64)
  return weights_NG / np.where(total_N1 > 0, total_N1, 1.0)
