# SPDX-License-Identifier: Apache-2.0
"""One id per text, whatever the type it came in."""

import numpy as np
import polars as pl
import pytest

from genrec_jax.data import ids


def _codes(values, dtype=None):
  frame = pl.DataFrame({"id": pl.Series(values, dtype=dtype)})
  column = frame.select(ids.interned("id", frame.schema))["id"]
  codes, names = ids.codes(column)
  return [names[c] if c >= 0 else None for c in codes]


def test_text_integers_and_whole_floats_are_one_id():
  assert _codes(["1", "1.0", "1.000", "2"]) == ["1", "1", "1", "2"]
  assert _codes([1, 2, 1]) == ["1", "2", "1"]
  assert _codes([1.0, 2.0, -3.0]) == ["1", "2", "-3"]
  assert _codes([1, 2], pl.UInt8) == ["1", "2"]


def test_text_that_only_looks_alike_stays_apart():
  values = ["007", "7", "7.5", "1e3", "1000", "a", "A", " a"]
  assert _codes(values) == values


def test_null_empty_and_nan_are_no_id():
  assert _codes([None, "", "x"]) == [None, None, "x"]
  assert _codes([None, float("nan"), 3.0]) == [None, None, "3"]
  assert _codes([None, None], pl.Null) == [None, None]


def test_large_integers_keep_every_digit():
  large = 2**63 - 1
  assert _codes([large, large - 1]) == [str(large), str(large - 1)]


def test_codes_do_not_depend_on_what_was_interned_before():
  def raw_codes(values):
    frame = pl.DataFrame({"id": values})
    column = frame.select(ids.interned("id", frame.schema))["id"]
    return ids.codes(column)

  first = raw_codes(["b", "a", "c"])
  second = raw_codes(["c", "b", "a"])
  assert first[1] == second[1] == ["a", "b", "c"]
  np.testing.assert_array_equal(first[0], [1, 0, 2])
  np.testing.assert_array_equal(second[0], [2, 1, 0])


def test_types_that_are_no_ids_are_refused():
  frame = pl.DataFrame({"id": [[1], [2]]})
  with pytest.raises(ValueError, match="'id' has the type List"):
    ids.interned("id", frame.schema)


def test_floats_that_are_not_whole_are_marked():
  frame = pl.DataFrame({"id": [1.0, 1.5, None, float("nan"), 2.0**60]})
  wrong = frame.select(ids.not_whole("id", frame.schema).fill_null(False))
  assert wrong.to_series().to_list() == [False, True, False, False, True]


@pytest.mark.parametrize(
  "value",
  ["1", "1.0", "1.", "-2.00", "007", "7.5", "1e3", " 1.0", "a.0", "1.0\n", "x"]
  + [1, -3, 2**63 - 1, 1.0, -0.0, 2.0**52],
)
def test_one_id_is_what_a_log_makes_of_it(value):
  assert ids.text_of(value) == _codes([value])[0]


def test_one_id_may_be_of_numpy_and_may_be_none():
  assert ids.text_of(np.float32(7)) == ids.text_of(np.int16(7)) == "7"
  assert ids.text_of(None) == ids.text_of(float("nan")) == ""
  assert ids.text_of(7.5) == "7.5" and ids.text_of(float("inf")) == "inf"
