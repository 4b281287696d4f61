# SPDX-License-Identifier: Apache-2.0
"""Events that happened and that the log lacks: known false negatives.

    hidden_E = hidden_events(user_E, share=0.2, rng=rng)

Each event of a user but the last two is hidden with probability `share`,
whatever its item and action: the targets of leave-one-out stay those of the
whole log, and whoever draws negatives from what a user is not known to have
met draws these too.
"""

from jaxtyping import Bool, Int
import numpy as np

# Targets of the validation and the test.
_KEPT = 2


def hidden_events(
  user_E: Int[np.ndarray, "E"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, "E"]:
  """Which events the log lacks.

  Args:
    user_E: of each event; users one after the other, their events in time.
    share: probability of each that may be hidden.
    rng: of the draw.
  """
  _, start_U, count_U = np.unique(user_E, return_index=True, return_counts=True)
  left_E = np.repeat(start_U + count_U, count_U) - np.arange(len(user_E))
  return (left_E > _KEPT) & (rng.random(len(user_E)) < share)
