# SPDX-License-Identifier: Apache-2.0
"""Pages that are gathered and put, beside loops over tokens."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.ops.pages import gather_pages, put_pages


def test_rows_are_what_was_put_and_all_else_stays():
  size, nowhere = 3, 7
  draw = np.random.default_rng(0)
  pages = draw.normal(size=(nowhere, size, 2, 4)).astype(np.float32)
  rows = draw.normal(size=(3, 8, 2, 4)).astype(np.float32)
  first = np.array([0, 1, 2], np.int32)
  write = np.array([[4, 0], [6, nowhere], [2, nowhere]], np.int32)
  expected = pages.copy()
  for row in range(3):
    for number, place in enumerate(write[row]):
      for token in range(size):
        # The last page ends with anything; here with the row's last token.
        at = min((first[row] + number) * size + token, 7)
        if place < nowhere:
          expected[place, token] = rows[row, at]
  found = jax.jit(put_pages)(*map(jnp.asarray, (pages, rows, first, write)))
  np.testing.assert_array_equal(found, expected)
  index = np.array([[4, 0], [2, 2]], np.int32)
  read = jax.jit(gather_pages)(found, jnp.asarray(index))
  np.testing.assert_array_equal(read[0], rows[0, :6])
  np.testing.assert_array_equal(read[1, :2], rows[2, 6:])
  assert read.shape == (2, 2 * size, 2, 4)
