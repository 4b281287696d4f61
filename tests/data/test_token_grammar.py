# SPDX-License-Identifier: Apache-2.0
"""The automaton against a regular expression, and ranges of the vocabulary."""

import dataclasses
import re

import numpy as np
import pytest

from genrec_jax.data.token_grammar import GROUPS, TokenGrammar
from genrec_jax.data.token_sequence import TokenSequence
from tests.data.grammars_by_hand import FULL, GRAMMARS, random_events

_CASES = pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)


def _expression(grammar):
  """(regular expression, an item's letters, letters by type)."""
  letters = [chr(ord("A") + k) for k in range(len(grammar.types))]

  def of(group):
    return "".join(letters[k] for k in grammar.group(group))

  about = [of("level"), of("extra")]
  item = "".join(about[::-1] if grammar.extras_first else about) + of("action")
  context, other = of("context"), f"{of('other')}*" if grammar.other else ""
  request = f"{context}{item}{other}(?:{item}{other})*"
  return f"{of('bos')}{other}(?:{request})*", context + item, letters


@_CASES
def test_what_may_come_next_is_what_the_expression_has(grammar):
  """A type is allowed where, with the end of an item, a whole match follows."""
  expression, item, letters = _expression(grammar)
  whole = re.compile(expression)
  ends = [item[i:] for i in range(len(item) + 1)]
  rng = np.random.default_rng(0)
  met = set()
  for _ in range(12):
    text, state = "", 0
    for _ in range(25):
      allowed = [
        any(whole.fullmatch(text + letter + end) for end in ends)
        for letter in letters
      ]
      assert grammar.allowed_SK[state].tolist() == allowed, text
      assert (state in grammar.borders) == bool(whole.fullmatch(text))
      kind = rng.choice(np.flatnonzero(allowed))
      met.add((state, kind))
      state, text = grammar.next_state_SK[state, kind], text + letters[kind]
  assert len(met) == grammar.allowed_SK.sum(), "every edge was walked"


@_CASES
def test_ranges_are_side_by_side_and_masks_are_those_of_types(grammar):
  end = 0
  for kind in grammar.types:
    assert kind.start == end and kind.group in GROUPS
    end += kind.size
  assert grammar.num_tokens == end == len(grammar.names)
  assert len(set(grammar.names)) == end and grammar.names[0] == ""
  for state, allowed_K in enumerate(grammar.allowed_SK):
    expected = [
      bool(allowed_K[place])
      for place, kind in enumerate(grammar.types)
      for _ in range(kind.size)
    ]
    assert grammar.allowed_SV[state].tolist() == expected
  # Nothing leads out of an error, and padding is never allowed.
  assert (grammar.next_state_SK[-1] == len(grammar.next_state_SK) - 1).all()
  assert not grammar.allowed_SK[-1].any() and not grammar.allowed_SK[:, 0].any()


def test_lengths_are_four_and_eight_an_event():
  four = TokenGrammar((8, 8, 8), ("click", "downvote"))
  extras = (("age", 17), ("popularity", 102), ("author", 9), ("followed", 3))
  assert len(four.block) == 4
  assert len(dataclasses.replace(four, extras=extras).block) == 8


def test_a_request_is_asked_for_behind_its_context():
  for grammar in GRAMMARS.values():
    kinds = [grammar.types[k] for k in (1, *grammar.group("context"))]
    state = 0
    for kind in kinds:
      state = grammar.next_state_SK[state, grammar.types.index(kind)]
    assert state == grammar.asking
    first = grammar.block[0]
    assert grammar.allowed_SK[state, first]


@pytest.mark.parametrize("combined", [True, False])
def test_actions_there_and_back(combined):
  grammar = TokenGrammar((2,), ("a", "b", "c"), combined)
  for mask in range(-1, 8):
    values = grammar.action_values[1 + mask].tolist()
    assert grammar.mask_of(values) == mask
    kinds = [grammar.types[k] for k in grammar.group("action")]
    names = [
      grammar.names[kind.start + value]
      for kind, value in zip(kinds, values, strict=True)
    ]
    done = [name for bit, name in enumerate("abc") if mask >> bit & 1]
    if combined:
      said = "unknown" if mask < 0 else "|".join(done) or "none"
      assert names == [f"action: {said}"]
    else:
      yes, no = ("unknown",) * 2 if mask < 0 else ("yes", "no")
      assert names == [f"action {n}: {yes if n in done else no}" for n in "abc"]


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"level_sizes": ()}, "level_sizes=.* at least one entry"),
    ({"actions": ()}, "actions=.* at least one entry"),
    ({"level_sizes": (3, 0)}, r"level_sizes\[1\] has 0 values"),
    ({"extras": (("age", 0),)}, "extras 'age' has 0 values"),
    ({"context": (("hour", 2), ("hour", 3))}, "context has 'hour' twice"),
    ({"other": ("follow", "follow")}, "other has 'follow' twice"),
    (
      {"actions": tuple("abcdefghijk")},
      "2.11 tokens of 11 actions; give at most 10, or set it to False",
    ),
  ],
)
def test_what_is_no_grammar(options, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(FULL, **options)


@_CASES
def test_no_sequence_has_more_of_a_type_than_there_can_be(grammar):
  rng = np.random.default_rng(0)
  reached = set()
  for count in [*range(6)] * 8:
    tokens = TokenSequence.of(grammar, random_events(grammar, rng, count))
    length = len(tokens.token_T)
    for kind, one in enumerate(grammar.types[2:], start=2):
      found = int((tokens.type_T == kind).sum())
      most = grammar.most(kind, length)
      assert found <= most, one.name
      reached |= {kind} if found == most > 0 else set()
  items = {k for k in range(2, len(grammar.types)) if k in grammar.block}
  assert items <= reached, "it says no more than that"
  assert grammar.most(0, 99) == grammar.most(1, 99) == 0
