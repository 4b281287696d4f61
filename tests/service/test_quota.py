# SPDX-License-Identifier: Apache-2.0
"""A caller's tokens, by a clock that is set."""

import pytest

from genrec_jax.service.quota import Quota


def test_a_bucket_empties_and_fills():
  now = [0.0]
  quota = Quota(2.0, clock=lambda: now[0])
  assert [quota.take("a") for _ in range(2)] == [0.0, 0.0]
  assert quota.take("a") == pytest.approx(0.5)
  # Another's is its own.
  assert quota.take("b") == 0.0
  now[0] = 0.5
  assert quota.take("a") == 0.0
  assert quota.take("a") == pytest.approx(0.5)
  # Nobody saves more than a second's.
  now[0] = 100.0
  assert [quota.take("a") > 0 for _ in range(3)] == [False, False, True]
  # A clock that goes back gives nothing, and takes nothing for ever.
  now[0] = 99.9
  assert quota.take("a") > 0
  now[0] = 101.0
  assert quota.take("a") == 0.0
  with pytest.raises(ValueError, match="above 0"):
    Quota(0.0)
