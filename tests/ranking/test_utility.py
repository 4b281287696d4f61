# SPDX-License-Identifier: Apache-2.0
"""The value of an item is the weighted sum of its probabilities."""

import numpy as np
import pytest

from genrec_jax.ranking.utility import ValueFunction

_TASKS = ("skip", "click", "like")


def test_weights_of_the_source():
  value = ValueFunction(_TASKS, (-100.0, 1.0, 10.0))
  p = np.array([[0.5, 0.4, 0.1], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
  np.testing.assert_allclose(value(p), [-48.6, 1.0, -100.0])
  # One more point of P(like) is worth ten of P(click).
  more = p + np.array([[0, 0, 0.01]])
  np.testing.assert_allclose(value(more) - value(p), 0.1)


def test_words_of_weights():
  assert ValueFunction.of(_TASKS, "like=10, click=-1.5").weights == (
    0,
    -1.5,
    10,
  )
  assert ValueFunction.of(_TASKS).weights == (1, 1, 1)
  for text, message in (
    ("clik=1", "no 'clik'.*Did you mean 'click'"),
    ("click", "'' is no number; write click=1"),
    ("click=x", "'x' is no number"),
    ("click=nan", "'nan' is no weight"),
    ("click=1e39", "'1e39' is no weight; the largest is 1e"),
    ("click=1,click=5", "names a task twice"),
  ):
    with pytest.raises(ValueError, match=message):
      ValueFunction.of(_TASKS, text)
  assert ValueFunction.of(_TASKS, {"like": 10}).weights == (0, 0, 10)
  with pytest.raises(ValueError, match="'like': 'x'.*'x' is no number"):
    ValueFunction.of(_TASKS, {"like": "x"})
  with pytest.raises(ValueError, match="2 weights for the 3 tasks"):
    ValueFunction(_TASKS, (1.0, 2.0))


def test_a_rankers_own_weights_are_those_of_no_others(make_ranker):
  ranker = make_ranker()
  ranker.value = ValueFunction.of(ranker.tasks, {"cart": -2.0})
  ids = ranker.catalog.ids[1:4]
  own, asked = ranker.rank(ids), ranker.rank(ids, weights="purchase=3")
  np.testing.assert_allclose(own["value"], -2 * own["cart"])
  np.testing.assert_allclose(asked["value"], 3 * asked["purchase"])
