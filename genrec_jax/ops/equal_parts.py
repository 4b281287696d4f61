# SPDX-License-Identifier: Apache-2.0
"""Parts of equal size, exactly, at the least cost: who goes to which part.

    codes = argmin sum_n cost[n, code_n]      sizes of parts differ by at most 1

It starts from the cells of a power diagram (each takes what costs it least
after a price a part, ops/kmeans.py), the cheapest partition into parts of its
own sizes, and moves rows along cheapest paths from parts that are too large to
parts that are too small, until none is. Such moves keep a partition the
cheapest for its sizes (successive shortest paths), so the result is the optimum
where N is a multiple of C. On the host, in NumPy: a step of a fit.
Shapes: N rows, C parts.
"""

from jaxtyping import Float, Int
import numpy as np

# Softness of prices, in units of the mean cost: falls by the factor to the
# last, _PRICE_STEPS steps at each.
_SOFTNESS = 0.5 * 0.6 ** np.arange(9)
_PRICE_STEPS = 5
# What a detour must save, in units of the largest cost: sums round off.
_LEAST_GAIN = 1e-12


def equal_parts(costs_NC: Float[np.ndarray, "N C"]) -> Int[np.ndarray, "N"]:
  """The part of each row; sizes are N / C, rounded down or up.

  Raises:
    ValueError: fewer rows than parts, or costs that are not finite.
  """
  count, parts = costs_NC.shape
  if count < parts:
    raise ValueError(f"{count} rows cannot fill {parts} parts.")
  if not np.isfinite(costs_NC).all():
    raise ValueError("costs are not finite.")
  costs_NC = costs_NC.astype(np.float64)
  costs_NC = costs_NC - costs_NC.min(axis=1, keepdims=True)
  low, high = count // parts, -(-count // parts)
  codes_N = np.argmin(costs_NC + _prices(costs_NC)[None, :], axis=1)
  size_C = np.bincount(codes_N, minlength=parts)
  gap_CC = np.empty((parts, parts))
  who_CC = np.empty((parts, parts), np.int64)

  def look(part):
    """What it costs the cheapest row of a part to go to each other one."""
    rows = np.flatnonzero(codes_N == part)
    gap_CC[part], gap_CC[part, part] = np.inf, 0.0
    if len(rows):
      more_nC = costs_NC[rows] - costs_NC[rows, part][:, None]
      best_C = more_nC.argmin(axis=0)
      gap_CC[part], who_CC[part] = more_nC.min(axis=0), rows[best_C]

  for part in range(parts):
    look(part)
  least = _LEAST_GAIN * max(costs_NC.max(), 1e-300)
  while True:
    over_C, under_C = size_C > high, size_C < low
    if not over_C.any() and not under_C.any():
      return codes_N.astype(np.int32)
    sources_C = over_C if over_C.any() else size_C > low
    sinks_C = under_C if under_C.any() else size_C < high
    path = _cheapest_path(gap_CC, sources_C, sinks_C, least)
    moves = [(who_CC[a, b], b) for a, b in zip(path, path[1:], strict=False)]
    for row, part in moves:
      codes_N[row] = part
    size_C[path[0]] -= 1
    size_C[path[-1]] += 1
    for part in path:
      look(part)


def _cheapest_path(gap_CC, sources_C, sinks_C, least) -> list[int]:
  """Parts from a source to a sink (Bellman and Ford; gaps may be negative)."""
  parts = len(gap_CC)
  cost_C = np.where(sources_C, 0.0, np.inf)
  before_C = np.full(parts, -1)
  for _ in range(parts):
    through_CC = cost_C[:, None] + gap_CC
    best_C = through_CC.argmin(axis=0)
    found_C = through_CC[best_C, np.arange(parts)]
    better_C = found_C < cost_C - least
    if not better_C.any():
      break
    cost_C = np.where(better_C, found_C, cost_C)
    before_C = np.where(better_C, best_C, before_C)
  path = [int(np.argmin(np.where(sinks_C, cost_C, np.inf)))]
  while before_C[path[0]] >= 0 and len(path) <= parts:
    path.insert(0, int(before_C[path[0]]))
  return path


def _prices(costs_NC) -> Float[np.ndarray, "C"]:
  """Prices by which parts are taken about equally often, softly."""
  count, parts = costs_NC.shape
  price_C = np.zeros(parts)
  scale = max(costs_NC.mean(), 1e-300)
  for softness in np.repeat(_SOFTNESS * scale, _PRICE_STEPS):
    log_NC = -(costs_NC + price_C[None, :]) / softness
    log_NC -= log_NC.max(axis=1, keepdims=True)
    share_NC = np.exp(log_NC)
    share_NC /= share_NC.sum(axis=1, keepdims=True)
    taken_C = share_NC.sum(axis=0) * (parts / count)
    price_C = price_C + softness * np.log(taken_C + 1e-3)
  return price_C - price_C.mean()
