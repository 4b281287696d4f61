# SPDX-License-Identifier: Apache-2.0
"""Samples in words and nats by level, from arrays by hand."""

import numpy as np

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.rollout.sample_examples import examples_of, nats_by_level

_ITEMS = np.array(
  [
    [[1, 2], [3, 0], [1, 2], [4, 1]],
    [[1, 2], [2, 1], [3, 4], [4, 3]],
    [[4, 0], [3, 1], [2, 0], [1, 0]],
  ]
)
_NATS = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
_WHERE = np.array([[True] * 4, [False] * 4, [True, False, True, False]])
_REWARD = np.array([[0.1, 0.9, 0.1, 0.5], [1.0] * 4, [0.2, 9.0, 0.3, 9.0]])
_FOUND = {
  "item_GKN": _ITEMS,
  "nats_GKT": _NATS,
  "where_GK": _WHERE,
  "reward_GK": _REWARD,
}
_TITLES = ["", "a", "b", "c", "d"]


def _requests():
  items = [[1, 2, 3, 4, 1, 2], [1], [4]]
  history = [{"item": np.array(x)} for x in items]
  numbers = np.arange(3)
  return Requests(numbers, np.array([2, 1, 0]), history, numbers, numbers)


def test_the_best_samples_come_first_and_each_once():
  first, last = examples_of(_requests(), _FOUND, _TITLES)
  assert first["user"] == 0 and first["next"] == "b"
  assert first["history"] == ["b", "c", "d", "a", "b"]
  shown = [(s["items"], s["reward"], s["log_p"]) for s in first["samples"]]
  # Of a list that ends early its own codes count, and no more.
  assert shown == [
    (["c"], 0.9, -9.0), (["d", "a"], 0.5, -54.0), (["a", "b"], 0.1, -6.0)
  ]  # fmt: skip
  assert last["user"] == 2 and last["next"] == ""
  assert [s["items"] for s in last["samples"]] == [["b"], ["d"]]
  (one,) = examples_of(
    _requests(), _FOUND, _TITLES, requests_shown=1, samples_shown=2
  )
  assert one == {**first, "samples": first["samples"][:2]}


def test_nats_are_means_over_items_that_are_there():
  by_level = [[], []]
  for g, k, n in np.ndindex(3, 4, 2):
    if _WHERE[g, k] and _ITEMS[g, k, n]:
      for level in range(2):
        by_level[level].append(_NATS[g, k, 2 * n + level])
  wanted = [np.mean(values) for values in by_level]
  np.testing.assert_allclose(nats_by_level(_NATS, _ITEMS, _WHERE), wanted)
