# SPDX-License-Identifier: Apache-2.0
"""Equal rows are found, and no others, whatever their values."""

from hypothesis import given, strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.ops.equal_rows import first_equal, is_first, row_hashes

_N, _D = 8, 3
_first_equal = jax.jit(first_equal)
_VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-140, 1e38, 1 + 2**-23])


@given(
  rows=st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=_N, max_size=_N),
  where=st.lists(st.booleans(), min_size=_N, max_size=_N),
)
def test_the_first_equal_row_by_comparing_all(rows, where):
  x = np.array(rows, np.float32)
  found = _first_equal(x, np.array(where))
  for i in range(_N):
    same = [j for j in range(i + 1) if where[j] and (x[j] == x[i]).all()]
    assert found[i] == (same[0] if where[i] else _N)


def test_many_rows_of_few_bits_all_differ():
  # Small whole numbers have few bits set, and their sums often agree.
  x = np.stack(np.meshgrid(*[np.arange(16.0)] * 4), -1).reshape(-1, 4)
  assert is_first(jnp.asarray(x, jnp.float32)).all()
  for hashes_N in np.asarray(row_hashes(jnp.asarray(x, jnp.float32))):
    # 65,536 draws of 2^32: half a pair is expected.
    assert len(np.unique(hashes_N)) > len(x) - 8


def test_no_rows():
  assert first_equal(jnp.zeros((0, 3))).shape == (0,)
