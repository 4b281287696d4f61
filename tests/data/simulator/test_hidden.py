# SPDX-License-Identifier: Apache-2.0
"""Which events are hidden: none of a user's last two."""

import numpy as np
import pytest

from genrec_jax.data.simulator.hidden import hidden_events


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_all_but_the_last_two_may_be(share):
  lengths = [1, 2, 3, 400, 2, 5, 600]
  user = np.repeat([0, 1, 4, 5, 7, 8, 9], lengths)
  hidden = hidden_events(user, share, np.random.default_rng(0))
  may = np.concatenate([np.arange(n) < n - 2 for n in lengths])
  assert not hidden[~may].any()
  assert hidden[may].mean() == pytest.approx(share, abs=0.06 * (0 < share < 1))
