# SPDX-License-Identifier: Apache-2.0
"""Segments at their borders."""

import numpy as np

from genrec_jax.data.simulator import segments


def test_an_item_of_the_first_second_is_early_and_of_the_middle_late():
  birth = np.array([99, 100, 149, 150, 199, -7])
  found = segments.freshness(birth, 100, 200)
  assert found.tolist() == ["old", "early", "early", "late", "late", "old"]


def test_users_of_one_number_of_events_are_of_one_third():
  events = np.array([3, 1, 2, 1, 3, 1, 2, 2, 3])
  wanted = {1: "low", 2: "medium", 3: "high"}
  found = segments.activity(events)
  assert found.tolist() == [wanted[n] for n in events]
  assert set(segments.activity(np.array([4, 4, 4]))) == {"low"}
