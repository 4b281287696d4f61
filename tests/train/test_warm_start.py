# SPDX-License-Identifier: Apache-2.0
"""A larger catalogue starts from a smaller one's rows, by item id."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.token_grammar import TokenGrammar
from genrec_jax.train.warm_start import (
  CarriedOver,
  carry_over,
  carry_rows,
  match_items,
)

_TABLES = (("item", "embedding"),)


def _params(rows, width=2, kernel=3, offset=0.0):
  table = np.arange(rows * width, dtype=np.float32).reshape(rows, width)
  return {
    "item": {"embedding": table + offset},
    "dense": {"kernel": np.full((kernel, kernel), offset)},
  }


def test_rows_go_by_id_and_the_rest_is_taken():
  old, fresh = _params(4, offset=100.0), _params(5)
  result, facts = carry_over(
    old, fresh, ["", "a", "b", "gone"], ["", "b", "new", "a", "x"], _TABLES
  )
  table = result["item"]["embedding"]
  np.testing.assert_array_equal(table[1], old["item"]["embedding"][2])
  np.testing.assert_array_equal(table[3], old["item"]["embedding"][1])
  for row in (0, 2, 4):
    np.testing.assert_array_equal(table[row], fresh["item"]["embedding"][row])
  np.testing.assert_array_equal(result["dense"]["kernel"], 100.0)
  assert facts == CarriedOver(kept=2, new=2, gone=1)


def test_another_architecture_is_an_error_that_names_the_arrays():
  ids = ["", "a"]
  with pytest.raises(ValueError, match=r"dense/kernel: \(4, 4\) and \(3, 3\)"):
    carry_over(_params(2, kernel=4), _params(2), ids, ids, _TABLES)
  with pytest.raises(ValueError, match=r"item/embedding: rows of"):
    carry_over(_params(2, width=3), _params(2), ids, ids, _TABLES)
  extra = _params(2) | {"more": {"bias": np.zeros(1)}}
  with pytest.raises(ValueError, match="more/bias: only in the old run"):
    carry_over(extra, _params(2), ids, ids, _TABLES)


def test_what_is_data_is_the_new_catalogues():
  old, fresh = _params(3, offset=100.0), _params(4)
  for params, rows in ((old, 3), (fresh, 4)):
    params["content"] = np.full((rows, 1), rows)
  ids = ["", "a", "b"]
  result, _ = carry_over(
    old, fresh, ids, [*ids, "new"], _TABLES, constants=("content",)
  )
  np.testing.assert_array_equal(result["content"], np.full((4, 1), 4))


def test_tokens_of_a_larger_grammar_keep_the_rows_that_mean_the_same():
  small = TokenGrammar((3, 2), ("click",), context=(("hour", 4),))
  large = TokenGrammar(
    (5, 2),
    ("click", "like"),
    extras=(("age", 3),),
    context=(("hour", 4), ("tab", 2)),
    other=("follow",),
  )
  old = np.arange(small.num_tokens * 2.0).reshape(-1, 2)
  fresh = -1 - np.arange(large.num_tokens * 2.0).reshape(-1, 2)
  table = carry_rows(old, fresh, match_items(small.names, large.names))
  kept = {
    "bos": 1,
    **{f"level 1: {c}": 2 + c for c in range(3)},
    **{f"level 2: {c}": 5 + c for c in range(2)},
    **{"action: unknown": 7, "action: none": 8, "action: click": 9},
    **{f"context hour: {h} of 4": 10 + h for h in range(4)},
  }
  assert len(kept) == small.num_tokens - 1
  for row, name in enumerate(large.names):
    expected = old[kept[name]] if name in kept else fresh[row]
    np.testing.assert_array_equal(table[row], expected, err_msg=name)
  # A tenth is not a hundredth: other buckets are other rows.
  finer = dataclasses.replace(large, context=(("hour", 8), ("tab", 2)))
  rows = match_items(small.names, finer.names)
  assert len(rows[0]) == len(kept) - 4
  with pytest.raises(ValueError, match=r"rows of \(2,\) cannot be carried"):
    carry_rows(old, fresh[:, :1], rows)
