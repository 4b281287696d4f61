# SPDX-License-Identifier: Apache-2.0
"""How often a cache that drops what was used longest ago has what is asked for.

Keys i are asked for at rates r_i, independently of what came before, and take
s_i of a room of C. What was not asked for within the time T that it takes to
fill the room is not there (Che, Tung and Wang, IEEE JSAC 20, 2002):

    sum_i s_i (1 - exp(-r_i T)) = C        P(i is there) = 1 - exp(-r_i T)

An approximation, exact for equal keys and within a percent for hundreds of
others. People are not independent of what came before: one who is there comes
again soon, so a service finds more than this, and one whose users come back
within hours only, less.
"""

from jaxtyping import Float, Int
import numpy as np

_HALVINGS = 60


def lru_hits(
  rates: Float[np.ndarray, "n"],
  room: float | int,
  sizes: Float[np.ndarray, "n"] | Int[np.ndarray, "n"] | None = None,
) -> Float[np.ndarray, "n"]:
  """The chance of each key to be there when it is asked for.

  Args:
    rates: of requests, in any unit; 0 = never.
    room: of the cache, in the unit of sizes.
    sizes: of keys; None = 1 each.

  Raises:
    ValueError: a rate or a size that cannot be.
  """
  rates = np.asarray(rates, np.float64)
  sizes = np.ones_like(rates) if sizes is None else np.asarray(sizes)
  if (rates < 0).any() or (sizes <= 0).any() or room < 0:
    raise ValueError(
      "rates and room must not be negative, and sizes must be positive."
    )
  asked = rates > 0
  if room >= sizes[asked].sum():
    return asked.astype(np.float64)
  if not room:
    return np.zeros_like(rates)

  def there(seconds):
    return -np.expm1(-rates * seconds)

  # 1 - exp(-x) <= x: no shorter time fills the room.
  low = room / (sizes * rates).sum()
  high = low
  while (sizes * there(high)).sum() < room:
    high *= 2
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    if (sizes * there(middle)).sum() < room:
      low = middle
    else:
      high = middle
  return there(high)


def lru_hit_rate(
  rates: Float[np.ndarray, "n"],
  room: float | int,
  sizes: Float[np.ndarray, "n"] | Int[np.ndarray, "n"] | None = None,
) -> float:
  """The share of requests that find their key; see lru_hits."""
  rates = np.asarray(rates, np.float64)
  total = rates.sum()
  if not total:
    return 0.0
  return float((rates * lru_hits(rates, room, sizes)).sum() / total)
