# SPDX-License-Identifier: Apache-2.0
"""Small grammars of every form, events of them, and their tokens by hand."""

import dataclasses

import numpy as np

from genrec_jax.data.token_events import TokenEvents
from genrec_jax.data.token_grammar import TokenGrammar

FULL = TokenGrammar(
  level_sizes=(3, 2),
  actions=("click", "like"),
  extras=(("age", 4), ("author", 3)),
  context=(("hour", 2), ("tab", 3)),
  other=("follow", "search"),
)
GRAMMARS = {
  "plain": TokenGrammar((4,), ("click",)),
  "no_context": dataclasses.replace(FULL, context=()),
  "full": FULL,
  "extras_first": dataclasses.replace(FULL, extras_first=True),
  "a_token_per_task": dataclasses.replace(FULL, combined=False),
  "one_context": dataclasses.replace(FULL, context=(("hour", 2),), extras=()),
}


def random_events(grammar, rng, count) -> TokenEvents:
  """Events in an order that the grammar has."""
  events = TokenEvents.empty(grammar, count)
  began = not grammar.context
  for event in range(count):
    if grammar.other and rng.random() < 0.3:
      events.other_N[event] = rng.integers(1, len(grammar.other) + 1)
      continue
    events.codes_NM[event] = rng.integers(0, grammar.level_sizes)
    events.extra_NE[event] = [rng.integers(n) for _, n in grammar.extras]
    events.action_N[event] = rng.integers(-1, 2 ** len(grammar.actions))
    if grammar.context and (not began or rng.random() < 0.4):
      events.starts_N[event] = began = True
      events.context_NC[event] = [rng.integers(n) for _, n in grammar.context]
  return events


def words_of(grammar, events) -> list[tuple[str, int]]:
  """(type's name, value) of every token, one after the other."""
  words = [("bos", 0)]
  for n in range(len(events)):
    if events.other_N[n]:
      words.append(("other", events.other_N[n] - 1))
      continue
    if events.starts_N[n]:
      for (name, _), value in zip(
        grammar.context, events.context_NC[n], strict=True
      ):
        words.append((f"context {name}", value))
    item = [(f"level {m + 1}", c) for m, c in enumerate(events.codes_NM[n])]
    extras = [
      (f"extra {name}", value)
      for (name, _), value in zip(
        grammar.extras, events.extra_NE[n], strict=True
      )
    ]
    words += extras + item if grammar.extras_first else item + extras
    mask = events.action_N[n]
    if grammar.combined:
      words.append(("action", mask + 1))
    else:
      for bit, name in enumerate(grammar.actions):
        done = 0 if mask < 0 else 2 if mask & 2**bit else 1
        words.append((f"action {name}", done))
  return words


def tokens_of(grammar, words) -> list[int]:
  """Their tokens, by adding up what comes before a type."""
  starts, start = {}, 0
  for kind in grammar.types:
    starts[kind.name] = start
    start += kind.size
  return [int(starts[name] + value) for name, value in words]


def same(a: TokenEvents, b: TokenEvents) -> bool:
  """Whether all columns are equal."""
  return all(
    np.array_equal(vars(a)[f.name], vars(b)[f.name])
    for f in dataclasses.fields(a)
  )
