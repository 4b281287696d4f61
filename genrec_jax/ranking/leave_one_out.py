# SPDX-License-Identifier: Apache-2.0
"""What each past event does to a score: the score with it, and without.

    d(e, n, t) = P(t | history, n) - P(t | history without event e, n)

Above 0 where the event speaks for the task. Unlike the weights of attention
(attribution.py) this is a change of what comes out, of any ranker; it costs a
pass per event, and the effects of two events that say the same are both small.
Nothing is trained again, and the user is taken to have gone on identically.
"""

import dataclasses

from jaxtyping import Float
import numpy as np

from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.ranking.edits import removed


def leave_one_out(
  scorer: CandidateScorer, request: Impressions
) -> Float[np.ndarray, "E N T"]:
  """Effects of the events of one request's history, oldest first.

  Args:
    scorer: the model.
    request: of one user.

  Raises:
    ValueError: several requests.
  """
  if len(request.history) != 1:
    raise ValueError(f"effects are of one request, got {len(request.history)}.")
  (record,) = request.history
  whole_NT = scorer.score(request)
  without = [
    scorer.score(dataclasses.replace(request, history=[removed(record, event)]))
    for event in range(len(record["item"]))
  ]
  if not without:
    return np.zeros((0, *whole_NT.shape), whole_NT.dtype)
  return whole_NT[None] - np.stack(without)
