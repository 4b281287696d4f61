# SPDX-License-Identifier: Apache-2.0
"""Lists and logits that are equal to rounding, and those that are not."""

import numpy as np
import pytest

from genrec_jax.serving.export.parity import difference, lists_differ

_IDS = np.array([[4, 2, 9, 0]], np.int32)
_SCORES = np.array([[3.0, 2.0, 2.0, -np.inf]], np.float32)


def _lists(ids=_IDS, scores=_SCORES):
  return {"ids_BK": np.array(ids), "scores_BK": np.array(scores, np.float32)}


@pytest.mark.parametrize(
  ("ids", "scores", "equal"),
  [
    (_IDS, _SCORES, True),
    (_IDS, _SCORES + np.float32(4e-6), True),
    # Items that tie may change places, or fall off the end.
    ([[4, 9, 2, 0]], _SCORES, True),
    ([[4, 2, 7, 0]], _SCORES, True),
    ([[2, 4, 9, 0]], _SCORES, False),
    ([[7, 2, 9, 0]], _SCORES, False),
    (_IDS, _SCORES + np.float32(1e-4), False),
    (_IDS, [[3.0, 2.0, 2.0, 1.0]], False),
    (_IDS, [[3.0, 2.0, np.nan, -np.inf]], False),
    (_IDS, [[np.inf, 2.0, 2.0, -np.inf]], False),
    (_IDS[:, :3], _SCORES[:, :3], False),
  ],
)
def test_lists(ids, scores, equal):
  assert (lists_differ(_lists(ids, scores), _lists(), 1e-5) == "") is equal


def test_a_difference_is_relative_above_one():
  a, b = np.float32([0.5, 200.0]), np.float32([0.5, 100.0])
  assert difference(a, b) == 1.0
  assert difference(b, b) == 0.0
  assert difference(np.float32([0.25]), np.float32([0.5])) == 0.25
  assert difference(a, a[:1]) == difference(a * np.nan, a * np.nan) == np.inf
