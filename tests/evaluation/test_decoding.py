# SPDX-License-Identifier: Apache-2.0
"""Options of what compares searches; its figures: tests/end_to_end."""

import pytest

from genrec_jax.evaluation import Decoding


@pytest.mark.parametrize("name", ["users", "num_beams", "few_beams"])
def test_nobody_and_no_beams_are_refused(name):
  with pytest.raises(ValueError, match=f"Decoding.{name}=0 must be at least 1"):
    Decoding(**{name: 0})
