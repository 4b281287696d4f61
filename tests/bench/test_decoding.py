# SPDX-License-Identifier: Apache-2.0
"""Turns, medians and ratios of the decoding bench, and its peer's lines."""

import sys

import numpy as np
import pytest

from genrec_jax.bench import decoding


def test_ratios_are_medians_within_turns():
  seconds = {
    # The second turn met a busy machine, for all of them.
    "constrained": [2.0, 20.0, 2.2],
    "masked": [3.0, 30.0, 3.3],
    "unconstrained": [2.0, 20.0, 2.0],
    "peer": [8.0, 80.0, 8.8],
  }
  figures = decoding.figures(seconds, batch_size=11)
  assert figures["constrained_users_per_second"] == 5.0
  assert figures["constrained_per_unconstrained"] == 1.0
  assert figures["masked_per_unconstrained"] == 1.5
  assert figures["times_peer"] == 4.0


def test_everyone_takes_turns_and_the_first_one_does_not_count():
  order = []
  names = ("a", "b")
  runs = {name: lambda name=name: order.append(name) for name in names}
  seconds = decoding.take_turns(runs, turns=2)
  assert order == ["a", "b"] * 3
  assert {name: len(values) for name, values in seconds.items()} == {
    "a": 2,
    "b": 2,
  }


def test_codes_are_unique_where_the_last_level_can_number_them():
  codes = decoding.skewed_codes(2000, (16, 16, 16, 64))
  assert codes.shape == (2001, 4) and not codes[0].any()
  assert (codes.max(axis=0) < np.array([16, 16, 16, 64])).all()
  assert len(np.unique(codes[1:], axis=0)) == 2000


def test_a_peer_answers_lines_and_one_that_fails_is_named():
  script = (
    'import sys; print(\'{"name": "echo"}\', flush=True)\n'
    "for _ in sys.stdin: print('{}', flush=True)"
  )
  peer = decoding.Peer([sys.executable, "-c", script])
  assert peer.facts == {"name": "echo"}
  peer.decode()
  peer.decode()
  peer.close()
  with pytest.raises(ValueError, match="ended with 3"):
    decoding.Peer([sys.executable, "-c", "raise SystemExit(3)"])
