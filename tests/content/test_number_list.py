# SPDX-License-Identifier: Apache-2.0
"""Numbers in a column as content of items."""

import numpy as np
import pytest

from genrec_jax.content.number_list import NumberList


def test_numbers_come_back():
  encoder = NumberList(width=3)
  found = encoder.encode(["[-0.5 1 2e-1]", "[3  0 -4]"])
  np.testing.assert_array_equal(
    found, np.array([[-0.5, 1, 0.2], [3, 0, -4]], np.float32)
  )
  assert encoder.fingerprint != NumberList(width=4).fingerprint


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("0.5 1 2", "reads numbers in brackets"),
    ("[1 2]", "an item has 2 numbers"),
    ("[1 2 red]", "could not convert string to float"),
  ],
)
def test_what_is_no_list_of_numbers_is_refused(text, message):
  with pytest.raises(ValueError, match=message):
    NumberList(width=3).encode(["[1 2 3]", text])


def test_a_width_of_none_is_refused():
  with pytest.raises(ValueError, match="width=0 must be at least 1"):
    NumberList(width=0)
