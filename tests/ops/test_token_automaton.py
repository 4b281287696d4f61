# SPDX-License-Identifier: Apache-2.0
"""The automaton on the device against the one in Python, token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.token_parser import states_of
from genrec_jax.data.token_sequence import TokenSequence
from genrec_jax.ops.token_automaton import TokenAutomaton
from tests.data.grammars_by_hand import GRAMMARS, random_events

_LENGTH = 40


@jax.jit
def _run(automaton, token_BL, segment_ids_BL):
  states_BL = automaton.states(token_BL, segment_ids_BL)
  return states_BL, automaton.allowed(states_BL)


def _automaton(grammar):
  return TokenAutomaton(
    grammar.type_V, grammar.next_state_SK, grammar.allowed_SV
  )


def _allowed(grammar, prefix):
  """Tokens that Python lets come next, tried one by one."""
  found = np.zeros(grammar.num_tokens, bool)
  for token in range(grammar.num_tokens):
    try:
      states_of(grammar, np.append(prefix, np.int32(token)))
      found[token] = True
    except ValueError:
      pass
  return found


@pytest.mark.parametrize("name", ["full", "a_token_per_task"])
def test_masks_after_every_prefix_of_packed_rows(name):
  grammar = GRAMMARS[name]
  rng = np.random.default_rng(0)
  token_BL = np.zeros((3, _LENGTH), np.int32)
  segments_BL = np.zeros((3, _LENGTH), np.int32)
  prefixes = {}
  for row in range(3):
    place = 0
    for segment in (1, 2):
      events = random_events(grammar, rng, int(rng.integers(0, 4)))
      tokens = TokenSequence.of(grammar, events).token_T
      # A segment may end anywhere: the next starts anew.
      tokens = tokens[: int(rng.integers(1, 19))]
      token_BL[row, place : place + len(tokens)] = tokens
      segments_BL[row, place : place + len(tokens)] = segment
      for end in range(len(tokens)):
        prefixes[row, place + end] = tokens[: end + 1]
      place += len(tokens)
  states_BL, allowed_BLV = _run(_automaton(grammar), token_BL, segments_BL)
  assert len(prefixes) > 20
  for (row, place), prefix in prefixes.items():
    assert states_BL[row, place] == states_of(grammar, prefix)[-1]
    np.testing.assert_array_equal(
      allowed_BLV[row, place], _allowed(grammar, prefix)
    )
  # Padding keeps the state: the last column is where a prompt goes on.
  for row in range(3):
    last = np.flatnonzero(segments_BL[row])[-1]
    assert states_BL[row, -1] == states_BL[row, last]


def test_an_error_is_for_ever_and_a_row_is_one_segment_without_ids():
  grammar = GRAMMARS["full"]
  automaton = _automaton(grammar)
  code = grammar.types[2].start
  rows = jnp.array([[1, code, 1, 0], [1, 0, 0, 0]], jnp.int32)
  states_BL = automaton.states(rows)
  dead = len(grammar.next_state_SK) - 1
  assert states_BL[0, 1:].tolist() == [dead] * 3
  assert not automaton.allowed(states_BL[0, 1:]).any()
  assert states_BL[1].tolist() == [1] * 4
  state = jnp.zeros(2, jnp.int32)
  for column in rows.T:
    state = automaton.advance(state, column)
  np.testing.assert_array_equal(state, states_BL[:, -1])
