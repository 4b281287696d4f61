# SPDX-License-Identifier: Apache-2.0
"""A control: the times of a history with its gaps in another order.

    t_0, t_0 + g_p(1), t_0 + g_p(1) + g_p(2), ...      p a permutation of gaps

First and last time stay, and so do all gaps as a set; when somebody paused, and
how long ago the last event is, is gone. What a model that reads times loses by
it is what they told, and not what its further parameters are worth.
"""

from jaxtyping import Int
import numpy as np


def shuffled_gaps(
  times_L: Int[np.ndarray, "L"], seed: int, user: int
) -> Int[np.ndarray, "L"]:
  """Other times for the same events, the same whenever it is asked.

  Args:
    times_L: in their order.
    seed: of the draw.
    user: index, or -1; users of equal histories have draws of their own.
  """
  rng = np.random.default_rng((seed, user + 1, len(times_L)))
  gaps = np.diff(times_L.astype(np.int64))
  moved = np.cumsum(rng.permutation(gaps))
  return np.append(times_L[:1], times_L[:1] + moved).astype(times_L.dtype)
