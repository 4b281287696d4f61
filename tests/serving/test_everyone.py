# SPDX-License-Identifier: Apache-2.0
"""Windows of users: asked by length, told in order; and what runs ahead."""

import threading

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.serving import everyone
from genrec_jax.serving.everyone import Everyone, ahead
from genrec_jax.serving.found import Found

_LENGTHS = [3, 9, 1, 4, 4, 2, 7, 0, 5, 6, 1]


class _Histories:
  """User u has the items 100 u + 1, 100 u + 2, ..."""

  def __len__(self):
    return len(_LENGTHS)

  def many(self, users):
    return [
      {
        "user": np.array(user, np.int32),
        "item": np.arange(1, _LENGTHS[user] + 1, dtype=np.int32) + 100 * user,
      }
      for user in users
    ]


def _requests_of(records):
  zeros = np.zeros(len(records), np.int32)
  users = np.array([r["user"] for r in records], np.int32)
  return Requests(users, zeros, list(records), zeros, zeros)


@pytest.mark.parametrize(("window", "rows"), [(1, 1), (2, 4), (9, 1_000)])
def test_everyone_is_told_in_order_whatever_the_window(
  monkeypatch, window, rows
):
  monkeypatch.setattr(everyone, "_WINDOW", window)
  monkeypatch.setattr(everyone, "_ROWS", rows)
  asked = []

  def found_of(requests):
    asked.append([len(r["item"]) for r in requests.history])
    ids_BK = np.repeat(requests.user[:, None] + 1, 2, axis=1)
    scores_BK = ids_BK.astype(np.float32)
    return Found(ids_BK, scores_BK, requests.user % 2 == 0, requests.user)

  told = list(Everyone(_Histories(), _requests_of, found_of, 3))
  users = np.concatenate([requests.user for requests, _ in told])
  assert users.tolist() == list(range(len(_LENGTHS)))
  for requests, found in told:
    assert found.ids_BK[:, 0].tolist() == (requests.user + 1).tolist()
    assert found.by_model_B.tolist() == (requests.user % 2 == 0).tolist()
    lengths = [len(r["item"]) for r in requests.history]
    assert lengths == [_LENGTHS[user] for user in requests.user]
  # A window's batches ascend in length, and none is larger than three.
  assert sorted(sum(asked, [])) == sorted(_LENGTHS)
  assert all(len(batch) <= 3 for batch in asked)
  for start in range(0, len(asked), window):
    lengths = sum(asked[start : start + window], [])
    assert lengths == sorted(lengths)


def test_what_compilation_leaves_is_given_back(monkeypatch):
  monkeypatch.setattr(everyone, "_WINDOW", 2)
  told = []
  monkeypatch.setattr(everyone.heap, "give_back", lambda: told.append("back"))

  def found_of(requests):
    told.append("asked")
    ids_BK = np.ones((len(requests), 2), np.int32)
    scores_BK = ids_BK.astype(np.float32)
    return Found(ids_BK, scores_BK, requests.user == 0, requests.user)

  list(Everyone(_Histories(), _requests_of, found_of, 3))
  # Behind what loads, each batch of the first window, and every window.
  first = ["back", "asked", "back", "asked", "back", "back"]
  assert told == [*first, "asked", "asked", "back"]


def test_the_next_is_made_while_the_last_is_used():
  made = [threading.Event() for _ in range(3)]

  def items():
    for number, event in enumerate(made):
      event.set()
      yield number
    raise ValueError("no more")

  coming = ahead(items())
  assert next(coming) == 0
  assert made[1].wait(timeout=20)
  assert not made[2].is_set()
  assert [next(coming), next(coming)] == [1, 2]
  with pytest.raises(ValueError, match="no more"):
    next(coming)
