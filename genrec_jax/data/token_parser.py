# SPDX-License-Identifier: Apache-2.0
"""Tokens -> the events that they tell: the way back of data/token_sequence.py.

    parse(grammar, TokenSequence.of(grammar, events).token_T) == events

A stored sequence that the grammar rejects is an error that says where, which
token, and what was allowed there.
"""

from collections import defaultdict

from jaxtyping import Int
import numpy as np

from genrec_jax.data.token_events import TokenEvents
from genrec_jax.data.token_grammar import TokenGrammar


def states_of(
  grammar: TokenGrammar, token_T: Int[np.ndarray, "T"]
) -> list[int]:
  """The state of the automaton after each token.

  Raises:
    ValueError: a token that may not come where it does.
  """
  state, states = 0, []
  for place, token in enumerate(token_T.tolist()):
    if not 0 <= token < grammar.num_tokens:
      raise ValueError(
        f"position {place} has token {token}; the vocabulary has"
        f" {grammar.num_tokens}. Allowed were:"
        f" {grammar.allowed_names(state)}."
      )
    kind = grammar.type_V[token]
    if not grammar.allowed_SK[state, kind]:
      raise ValueError(
        f"position {place} has token {token} of the type"
        f" {grammar.types[kind].name!r}. Allowed were:"
        f" {grammar.allowed_names(state)}."
      )
    state = int(grammar.next_state_SK[state, kind])
    states.append(state)
  return states


def parse(grammar: TokenGrammar, token_T: Int[np.ndarray, "T"]) -> TokenEvents:
  """The events of a whole sequence.

  Raises:
    ValueError: a token that may not come where it does, or a sequence that
      does not end behind an event.
  """
  states = states_of(grammar, token_T)
  if not states or states[-1] not in grammar.borders:
    state = states[-1] if states else 0
    raise ValueError(
      f"the sequence ends at position {len(states)}, within an event. Allowed"
      f" were: {grammar.allowed_names(state)}."
    )
  rows: list[dict[str, list[int]]] = []
  row: dict[str, list[int]] = defaultdict(list)
  for token, state in zip(token_T.tolist()[1:], states[1:], strict=True):
    kind = grammar.types[grammar.type_V[token]]
    row[kind.group].append(token - kind.start)
    if state in grammar.borders:
      rows.append(row)
      row = defaultdict(list)
  events = TokenEvents.empty(grammar, len(rows))
  for place, row in enumerate(rows):
    if "other" in row:
      events.other_N[place] = 1 + row["other"][0]
      continue
    events.codes_NM[place] = row["level"]
    events.extra_NE[place] = row["extra"]
    events.starts_N[place] = "context" in row
    if "context" in row:
      events.context_NC[place] = row["context"]
    try:
      events.action_N[place] = grammar.mask_of(row["action"])
    except ValueError as error:
      raise ValueError(f"event {place}: {error}") from error
  return events
