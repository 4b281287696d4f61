# SPDX-License-Identifier: Apache-2.0
"""How much each caller may ask: a bucket of tokens that fills up again.

quota = Quota(per_second=50)
quota.take("10.0.0.7")          seconds to wait; 0 = it may
"""

from collections.abc import Callable
import time

# Callers that are remembered; one that is forgotten starts with a full bucket.
_MOST = 10_000


class Quota:
  """See the module docstring; for one thread."""

  def __init__(
    self, per_second: float, clock: Callable[[], float] = time.monotonic
  ):
    """Args: per_second: requests; a caller may save up those of one second."""
    if per_second <= 0:
      raise ValueError(f"per_second={per_second} must be above 0.")
    self._rate, self._clock = per_second, clock
    self._most = max(1.0, per_second)
    self._left: dict[str, tuple[float, float]] = {}

  def take(self, caller: str) -> float:
    """Takes one token; where there is none, seconds until there will be."""
    now = self._clock()
    left, since = self._left.pop(caller, (self._most, now))
    left = min(self._most, left + (now - since) * self._rate)
    allowed = left >= 1.0
    # Back at the end: the first is who has not asked for longest.
    self._left[caller] = (left - 1.0 if allowed else left, now)
    while len(self._left) > _MOST:
      del self._left[next(iter(self._left))]
    return 0.0 if allowed else (1.0 - left) / self._rate
