# SPDX-License-Identifier: Apache-2.0
"""How well a token's vector can be known: why growing vocabularies stop short.

A token x of true vector e_x in R^d is met n_x times, each time with noise of
variance s^2 in every entry. The mean of what was met has

    E ||e_hat - e||^2 = d s^2 / n_x                            averaged
    E ||e_hat - e||^2 = d / (1 / p^2 + n_x / s^2)              shrunk

the second where e ~ N(0, p^2 I) and the estimate knows it, also at n_x = 0.
Weighted by traffic, which is what a loss sees:

    items   of m visits each: after the k-th d s^2 / k, over a life
            d s^2 H_m / m with H_m = 1 + 1/2 + .. + 1/m, at any age of the log
    users   of a fixed number U, r rows a day: d s^2 U / (r t) after t days

A floor, then, wherever the number of tokens grows with the log, and it grows
with d; an error that falls like 1 / t where the tokens stay (the argument of
arXiv 2305.15333, made exact for means of Gaussians; a network is neither linear
nor an average). Errors depend on nothing but counts, so that `expected` gives
those of any log without drawing a vector.
"""

from fractions import Fraction

from jaxtyping import Float, Int, Shaped
import numpy as np


def harmonic(count: int) -> float:
  """1 + 1/2 + .. + 1/count."""
  return float(sum(Fraction(1, k) for k in range(1, count + 1)))


def averaged(
  count: Shaped[np.ndarray, "..."] | int, width: int, noise: float
) -> Float[np.ndarray, "..."]:
  """Squared error of the mean of `count` samples, at least one."""
  return width * noise**2 / np.asarray(count, np.float64)


def shrunk(
  count: Shaped[np.ndarray, "..."] | int,
  width: int,
  noise: float,
  prior: float,
) -> Float[np.ndarray, "..."]:
  """Squared error of the posterior mean after `count` samples, or none."""
  known = np.asarray(count, np.float64) / noise**2
  return width / (1 / prior**2 + known)


def over_a_life(visits: int, width: int, noise: float) -> float:
  """Mean of `averaged` behind the visits 1 .. m of an item."""
  return width * noise**2 * harmonic(visits) / visits


def over_users(
  users: int, rows_per_day: float, days: float, width: int, noise: float
) -> float:
  """`averaged` of users who have all been met equally often."""
  return width * noise**2 * users / (rows_per_day * days)


def earlier(token_E: Int[np.ndarray, "E"]) -> Int[np.ndarray, "E"]:
  """How many rows before each are of the same token."""
  order_E = np.argsort(token_E, kind="stable")
  sorted_E = token_E[order_E]
  first_E = np.searchsorted(sorted_E, sorted_E)
  count_E = np.empty(len(token_E), np.int64)
  count_E[order_E] = np.arange(len(token_E)) - first_E
  return count_E


def expected(
  token_E: Int[np.ndarray, "E"],
  rows: int,
  width: int,
  noise: float,
  prior: float,
) -> Float[np.ndarray, "P"]:
  """Mean squared error of the rows' tokens as known before them, by period.

  Args:
    token_E: of a log in order of time.
    rows: of a period; what is left over at the end is not counted.
    width: d.
    noise: s.
    prior: p.
  """
  error_E = shrunk(earlier(token_E), width, noise, prior)
  periods = len(error_E) // rows
  return error_E[: periods * rows].reshape(periods, rows).mean(axis=1)


def slope(error_P: Float[np.ndarray, "P"], first: int = 0) -> float:
  """Least-squares slope of log error on log period; 0 is flat, -1 is 1 / t.

  Args:
    error_P: above 0, of periods 1, 2, ...
    first: periods that are left out at the beginning.

  Raises:
    ValueError: fewer than two periods are left, or an error is not above 0.
  """
  error_P = np.asarray(error_P, np.float64)
  kept = error_P[first:]
  if len(kept) < 2 or not (kept > 0).all():
    raise ValueError(
      f"a slope needs two periods or more with errors above 0, and of"
      f" {len(error_P)} the last {len(kept)} have"
      f" {int((kept > 0).sum())} of these."
    )
  log_t = np.log(np.arange(first + 1, len(error_P) + 1))
  log_t -= log_t.mean()
  return float((log_t * np.log(kept)).sum() / (log_t**2).sum())
