# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of given lists, against walking through each by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.list_log_probs import list_log_probs
from tests.decoding.test_lists import (
  _CODES,
  _DECODER,
  _REQUESTS,
  _SIZES,
  _steps,
)


@pytest.fixture(autouse=True)
def _overflow_is_meant():
  with np.errstate(over="ignore"):
    yield


def test_each_code_has_what_the_model_says_behind_those_before_it():
  """Of lists that no search would write, too: the same item again."""
  rng = np.random.default_rng(0)
  items_GKN = rng.integers(1, len(_CODES), (len(_REQUESTS), 5, 3))
  items_GKN[0, 0] = 2
  codes_GKT = _CODES[items_GKN].reshape(len(_REQUESTS), 5, -1)
  found = jax.jit(lambda codes: list_log_probs(_DECODER, codes, _SIZES))(
    jnp.asarray(codes_GKT)
  )
  assert found.shape == codes_GKT.shape and found.dtype == jnp.float32
  for g, k in np.ndindex(*items_GKN.shape[:2]):
    wanted = [logp[c] for logp, c in _steps(_REQUESTS[g], items_GKN[g, k])]
    np.testing.assert_allclose(found[g, k], wanted, atol=1e-5)


def test_codes_are_of_whole_items():
  for count in (0, 3):
    with pytest.raises(ValueError, match=f"lists have {count} codes, and an"):
      codes = jnp.zeros((4, 2, count), jnp.int32)
      list_log_probs(_DECODER, codes, _SIZES)
