# SPDX-License-Identifier: Apache-2.0
"""Effects of events, against a ranker whose effects are known."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.ranking.leave_one_out import leave_one_out


@dataclasses.dataclass(frozen=True)
class _Layout:
  """An item's logit is the sum over the history of what its events say."""

  def impression_batch(self, impressions):
    (record,) = impressions.history
    says = np.array([0.5, -1.0, 2.0, 0.0])[record["item"] - 1].sum()
    return {"logits": says * impressions.candidates[..., None].astype(float)}


_SCORER = CandidateScorer(_Layout(), lambda b: b["logits"], None, None, 2)


def _request(items):
  items = np.array(items, np.int32)
  record = {"user": np.array(0), "item": items, "time": np.arange(len(items))}
  return asked_about(record, np.array([1, 2, 3]), 99, 4)


def test_an_effect_is_the_probability_with_an_event_less_that_without():
  effects_ENT = leave_one_out(_SCORER, _request([1, 3, 2, 4]))
  assert effects_ENT.shape == (4, 3, 1)
  says = [0.5, 2.0, -1.0, 0.0]

  def p(total, n):
    return 1 / (1 + np.exp(-total * n))

  for event, own in enumerate(says):
    for n in (1, 2, 3):
      expected = p(sum(says), n) - p(sum(says) - own, n)
      assert effects_ENT[event, n - 1, 0] == pytest.approx(expected, abs=1e-6)


def test_without_events_there_is_nothing():
  assert leave_one_out(_SCORER, _request([])).shape == (0, 3, 1)
  request = _request([1])
  several = dataclasses.replace(request, history=request.history * 2)
  with pytest.raises(ValueError, match="one request, got 2"):
    leave_one_out(_SCORER, several)
