# SPDX-License-Identifier: Apache-2.0
"""Actions by name, where the data tell labels from what was done."""

import numpy as np
import pytest

from genrec_jax.data.action_text import places, words
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.ranking.actions import Actions

_VOCABULARY = ("", "buy|unasked", "cart|unasked", "view", "view|later:buy")


def _actions(vocabulary=_VOCABULARY):
  return Actions(vocabulary, Feedback(("cart", "buy")))


def test_what_is_said_to_be_done_is_what_was_done():
  assert _actions().named("view") == {"action": 3}
  assert _actions().named("cart") == {"action": 2}
  # Where no view went without a label, one that has it tells the same.
  assert _actions(("", "view|later:buy")).named("view") == {"action": 1}
  with pytest.raises(ValueError, match="no action 'later'"):
    _actions().named("later")
  # A history that is given live finds the same.
  known = places(_VOCABULARY)
  for text in ("view", "cart", "buy", "view|later:buy"):
    assert known[words(text)] == _actions().named(text)["action"]


@pytest.mark.parametrize(
  ("probabilities", "index"), [((0.1, 0.9), 1), ((0.9, 0.1), 2)]
)
def test_what_is_assumed_is_done_and_no_label(probabilities, index):
  found = _actions().likely(np.array(probabilities))
  assert found == {"action": index}


def test_an_impression_with_a_label_is_none_of_a_purchase():
  found = _actions().likely(np.array([0.1, 0.1]))
  assert _VOCABULARY[found["action"]].startswith("view")
