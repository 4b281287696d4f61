# SPDX-License-Identifier: Apache-2.0
"""Affinity counts, against counting by hand, and never the request itself."""

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features.affinity import affinity
from genrec_jax.data.features.moments import Clock, Moments

_FEEDBACK = Feedback(("click", "like")).bind(
  ["", "skip", "click", "click|like"]
)
_ITEMS = pl.DataFrame(
  {
    "author": ["x", "y", "x", None, "y", "x"],
    "tags": [["a"], ["a", "b"], ["a"], [], None, ["b"]],
  }
)
_CLOCK = Clock(None)


def _count(field, moments):
  return affinity(field, _ITEMS, 6, _FEEDBACK)(moments, _CLOCK, _FEEDBACK)


def _record(rng, length):
  return {
    "user": np.array(0, np.int32),
    "item": rng.integers(1, 7, length).astype(np.int32),
    "action": rng.integers(0, 4, length).astype(np.int32),
    # Two events a request.
    "request": (np.arange(length) // 2).astype(np.int32),
  }


@pytest.mark.parametrize("field", ["id", "author", "tags", "author.like"])
def test_counts_are_those_of_earlier_requests_by_hand(field):
  name, _, task = field.partition(".")
  values = {"id": list(range(6))} | _ITEMS.to_dict(as_series=False)
  for seed in range(20):
    record = _record(np.random.default_rng(seed), 9)
    found = _count(field, Moments.of_events(record, np.arange(9)))
    for event in range(9):
      value = values[name][record["item"][event] - 1]
      expected = sum(
        values[name][record["item"][j] - 1] == value
        and (not task or record["action"][j] == 3)
        for j in range(event // 2 * 2)
      )
      if value is None or value == []:
        assert np.isnan(found[event])
      else:
        assert found[event] == expected


def test_a_moment_after_a_record_equals_that_of_its_next_event():
  record = _record(np.random.default_rng(0), 9)
  before = {k: v[:8] if v.ndim else v for k, v in record.items()}
  items = record["item"][8:]
  after = _count("author.click", Moments.after(before, 0, items))
  there = _count("author.click", Moments.of_events(record, np.array([8])))
  np.testing.assert_array_equal(after, there)


def test_nobody_has_an_affinity_of_zero():
  nobody = {"user": np.array(-1, np.int32), "item": np.zeros(0, np.int32)}
  found = _count("author", Moments.after(nobody, 0, np.array([1, 4, 0])))
  np.testing.assert_array_equal(found, [0, np.nan, np.nan])


def test_what_is_empty_is_missing():
  nothing = pl.DataFrame({"a": ["", "", "x"], "b": [np.nan, 1.0, np.nan]})
  record = _record(np.random.default_rng(0), 0)
  record["item"], record["action"] = np.array([1, 2, 3]), np.array([1, 1, 1])
  moments = Moments.after(record, 0, np.array([1, 2, 3]))
  for field, expected in (
    ("a", [np.nan, np.nan, 1]),
    ("b", [np.nan, 1, np.nan]),
  ):
    count = affinity(field, nothing, 3, _FEEDBACK)
    np.testing.assert_array_equal(
      count(moments, _CLOCK, _FEEDBACK), expected, err_msg=field
    )


def test_what_is_not_there_is_named():
  with pytest.raises(ValueError, match="no attribute 'autor'.*author"):
    affinity("autor", _ITEMS, 6, _FEEDBACK)
  with pytest.raises(ValueError, match="no task 'lik'.*like"):
    affinity("author.lik", _ITEMS, 6, _FEEDBACK)
