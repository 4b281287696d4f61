# SPDX-License-Identifier: Apache-2.0
"""Distinct ids against NumPy's."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.distinct import distinct_ids


@pytest.mark.parametrize("seed", range(3))
def test_distinct_ids_and_their_places_are_numpys(seed):
  rng = np.random.default_rng(seed)
  ids = rng.integers(0, 9, (3, 4)).astype(np.int32)
  found, places = map(np.asarray, distinct_ids(jnp.asarray(ids)))
  wanted = np.unique(np.append(ids, 0))
  np.testing.assert_array_equal(found[: len(wanted)], wanted)
  assert len(found) == 13 and not found[len(wanted) :].any()
  np.testing.assert_array_equal(found[places], ids)


def test_ids_that_do_not_fit_stand_beyond():
  found, places = map(
    np.asarray, distinct_ids(jnp.array([5, 3, 5, 9], jnp.int32), 3)
  )
  np.testing.assert_array_equal(found, [0, 3, 5])
  np.testing.assert_array_equal(places, [2, 1, 2, 3])
