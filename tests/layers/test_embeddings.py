# SPDX-License-Identifier: Apache-2.0
"""Item tables: wide rows, filled up rows, and ids that never overflow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import hstu_movielens, hstu_trillion
from genrec_jax.core.build import build
from genrec_jax.layers.embeddings import ItemEmbedding, count_rows


def test_wide_rows_are_projected_and_rows_filled_up():
  layer = ItemEmbedding(10, 4, row_width=6, row_multiple=8)
  variables = layer.init(jax.random.key(0), None)
  table = variables["params"]["embedding"]
  kernel = variables["params"]["down"]["kernel"]
  assert table.shape == (16, 6) and kernel.shape == (6, 4)
  ids = jnp.array([[3, 10], [0, 1]])
  found = layer.apply(variables, ids)
  np.testing.assert_allclose(found, table[ids] @ kernel, rtol=1e-5)
  np.testing.assert_allclose(
    layer.apply(variables, None)[ids], found, rtol=1e-5
  )


def test_filling_up_changes_no_row():
  key = jax.random.key(1)
  small, large = (
    ItemEmbedding(10, 4, row_multiple=m).init(key, None)["params"]["embedding"]
    for m in (1, 8)
  )
  np.testing.assert_array_equal(large[:11], small)


def test_more_rows_than_int32_names_are_refused_when_the_system_is_built():
  assert count_rows(2**31 - 2) == 2**31 - 1
  c = hstu_movielens.get_config("quicktest")
  with pytest.raises(ValueError, match="2,147,483,648 rows.*row_width"):
    build(c.system, num_items=2**31 - 1)
  c.system.row_multiple = 512
  with pytest.raises(ValueError, match="ids are int32"):
    build(c.system, num_items=2**31 - 100)


def test_a_trillion_parameters_are_shapes_that_fit():
  c = hstu_trillion.get_config()
  system = build(c.system, num_items=c.data.num_items)
  rows = count_rows(system.num_items, system.row_multiple)
  assert rows * system.row_width >= 1.5e12 and rows % 512 == 0
