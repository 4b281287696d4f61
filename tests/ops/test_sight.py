# SPDX-License-Identifier: Apache-2.0
"""Who sees whom, against the words of the module."""

import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ops.sight import EVERYTHING, Sight

_T, _U = 4, 2
# What rows are: summaries, and events of which the first is padding.
_THERE = [False, True, True, True]
_ROWS = [("summary", u) for u in range(_U)] + [
  ("event", t) if there else ("padding", t) for t, there in enumerate(_THERE)
]


def _sees(who, whom, events_see):
  (kind, place), (other, theirs) = who, whom
  if "padding" in (kind, other):
    return False
  if kind == "event" and other == "event":
    return theirs <= place
  if kind == "event":
    return events_see
  return True


@pytest.mark.parametrize("events_see", [False, True])
def test_every_pair_in_words(events_see):
  events = Sight.of_events(jnp.array([_THERE]))
  sight = Sight.of_summaries(1, _U, _T, events_see).then(events)
  found = sight.since_BR[:, None, :] <= sight.until_BR[:, :, None]
  expected = [[_sees(a, b, events_see) for b in _ROWS] for a in _ROWS]
  np.testing.assert_array_equal(found[0], expected)
  # A candidate sees what is there.
  candidate = sight.since_BR[0] <= EVERYTHING
  assert candidate.tolist() == [kind != "padding" for kind, _ in _ROWS]
  index = jnp.array([[5, 0, 3]])
  taken = sight.take(index, jnp.array([[True, True, False]]))
  wanted = [*np.asarray(sight.until_BR[0])[[5, 0]].tolist(), -1]
  assert taken.until_BR[0].tolist() == wanted
  assert taken.since_BR[0, 2] > EVERYTHING
