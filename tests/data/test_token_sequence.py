# SPDX-License-Identifier: Apache-2.0
"""Events to tokens against writing them one by one, and back again."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.data.token_events import TokenEvents, first_kept
from genrec_jax.data.token_grammar import BOS, PAD
from genrec_jax.data.token_parser import parse, states_of
from genrec_jax.data.token_sequence import (
  TokenSequence,
  block_tokens,
  type_weights,
)
from tests.data.grammars_by_hand import (
  FULL,
  GRAMMARS,
  random_events,
  same,
  tokens_of,
  words_of,
)

_CASES = pytest.mark.parametrize("grammar", GRAMMARS.values(), ids=GRAMMARS)


@_CASES
def test_tokens_are_those_written_one_by_one_and_tell_the_events(grammar):
  for seed in range(40):
    rng = np.random.default_rng(seed)
    events = random_events(grammar, rng, seed % 9)
    found = TokenSequence.of(grammar, events)
    words = words_of(grammar, events)
    expected = tokens_of(grammar, words)
    assert found.token_T.tolist() == expected
    assert found.label_T.tolist() == [*expected[1:], PAD]
    names = [grammar.types[k].name for k in found.type_T]
    assert names == [name for name, _ in words]
    assert same(parse(grammar, found.token_T), events)
    # The tokens of one event are those that it adds.
    for event in range(len(events)):
      cut = {k: v[: event + 1] for k, v in vars(events).items()}
      count = len(words_of(grammar, TokenEvents(**cut)))
      assert found.event_T[count - 1] == event
      assert (found.event_T[count:] > event).all()
    assert found.event_T[0] == -1


@_CASES
def test_actions_may_be_asked_for_otherwise_than_they_are_told(grammar):
  rng = np.random.default_rng(3)
  events = random_events(grammar, rng, 8)
  other = rng.integers(-1, 2 ** len(grammar.actions), 8)
  other = np.where(events.other_N > 0, 0, other)
  found = TokenSequence.of(grammar, events, other)
  told = TokenSequence.of(grammar, events)
  asked = TokenSequence.of(grammar, dataclasses.replace(events, action_N=other))
  assert found.token_T.tolist() == told.token_T.tolist()
  assert found.label_T.tolist() == asked.label_T.tolist()
  assert found.label_T.tolist() != told.label_T.tolist()


@_CASES
def test_candidates_are_blocks_without_their_action(grammar):
  events = random_events(grammar, np.random.default_rng(1), 6)
  items = events.other_N == 0
  blocks = block_tokens(
    grammar, events.codes_NM, events.extra_NE, events.action_N
  )[items]
  whole = TokenSequence.of(grammar, events)
  inside = np.isin(whole.type_T, grammar.block)
  assert blocks.reshape(-1).tolist() == whole.token_T[inside].tolist()
  kinds = grammar.type_V[blocks]
  assert (kinds == np.array(grammar.block)[None]).all()
  count = len(grammar.asked)
  assert not np.isin(kinds[:, :count], grammar.group("action")).any()


def _sequence():
  words = [
    *(("bos", 0), ("context hour", 1), ("context tab", 2)),
    *(("level 1", 2), ("level 2", 1), ("extra age", 0), ("extra author", 1)),
    *(("action", 3), ("other", 1)),
  ]
  return np.array(tokens_of(FULL, words), np.int32)


def test_a_rejected_sequence_says_where_and_what_was_allowed():
  tokens = _sequence()
  assert len(parse(FULL, tokens)) == 2
  # Extras in another order; the item before its context; a code for an action.
  for order, said in (
    ([0, 1, 2, 3, 4, 6], "position 5 .*'extra author'.*were: extra age\\."),
    ([0, 3], "position 1 .*'level 1'.*were: context hour, other\\."),
    ([0, 1, 2, 3, 4, 5, 6, 3], "position 7 .*'level 1'.*were: action\\."),
    ([0, 1, 2, 8], "position 3 .*'other'.*were: level 1\\."),
    ([1], "position 0 .*'context hour'.*were: bos\\."),
    ([0, 0], "position 1 has token 1 .*'bos'"),
  ):
    with pytest.raises(ValueError, match=said):
      states_of(FULL, tokens[order])
  for end in range(len(tokens)):
    # A sequence may end behind bos, the item, and the event without one.
    if end in (1, 8):
      parse(FULL, tokens[:end])
      continue
    with pytest.raises(ValueError, match=f"ends at position {end}, within an"):
      parse(FULL, tokens[:end])
  # A prompt ends within a request, and has states all the same.
  assert states_of(FULL, tokens[:3])[-1] == FULL.asking
  for wrong in (PAD, FULL.num_tokens, -1):
    with pytest.raises(ValueError, match=f"position 1 has token {wrong}"):
      parse(FULL, np.array([BOS, wrong], np.int32))
  grammar = GRAMMARS["a_token_per_task"]
  words = [
    *(("bos", 0), ("context hour", 1), ("context tab", 2)),
    *(("level 1", 2), ("level 2", 1), ("extra age", 0), ("extra author", 1)),
    *(("action click", 0), ("action like", 2)),
  ]
  with pytest.raises(ValueError, match="event 0: .*some are known and some"):
    parse(grammar, np.array(tokens_of(grammar, words), np.int32))


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"codes_NM": [[0, 2]]}, "event 0 has the value 2 in column 1 of codes_NM"),
    ({"extra_NE": [[-1, 0]]}, "value -1 in column 0 of extra_NE, .* 0 to 3"),
    ({"extra_NE": [[0]]}, "extra_NE has 1 columns; the grammar has 2"),
    ({"context_NC": [[0, 3]]}, "value 3 in column 1 of context_NC"),
    ({"action_N": [4]}, "value 4 in action_N, which has values -1 to 3"),
    ({"other_N": [3]}, "value 3 in other_N, which has values 0 to 2"),
    ({"other_N": [1]}, "begins with an event that has no item"),
    ({"starts_N": [False]}, "event 0 is the first item, and no request"),
  ],
)
def test_events_that_the_grammar_has_no_place_for(changes, said):
  one = TokenEvents.empty(FULL, 1)
  one.starts_N[0] = True
  TokenSequence.of(FULL, one)
  wrong = {
    name: np.array(x, bool if name == "starts_N" else np.int32)
    for name, x in changes.items()
  }
  with pytest.raises(ValueError, match=said):
    TokenSequence.of(FULL, dataclasses.replace(one, **wrong))
  plain = GRAMMARS["no_context"]
  one = TokenEvents.empty(plain, 1)
  one.starts_N[0] = True
  with pytest.raises(ValueError, match="the grammar has no context"):
    TokenSequence.of(plain, one)


def test_the_most_recent_events_that_fit():
  rng = np.random.default_rng(0)
  for _ in range(200):
    count = int(rng.integers(0, 8))
    sizes = rng.integers(1, 6, count)
    switches = rng.random(count) < 0.5
    context, limit = int(rng.integers(0, 4)), int(rng.integers(0, 20))
    expected = count
    for first in range(count - 1, -1, -1):
      switched = 1 + sum(switches[first + 1 :])
      if sum(sizes[first:]) + context * switched <= limit:
        expected = first
    assert first_kept(sizes, switches, context, limit) == expected


def test_weights_go_by_type_and_then_by_group():
  weights = {"level": 1.0, "extra": 0.1, "extra author": 2, "other": 0.5}
  found = dict(
    zip(
      [kind.name for kind in FULL.types],
      type_weights(FULL, weights).tolist(),
      strict=True,
    )
  )
  assert found == pytest.approx(
    {
      **dict.fromkeys(("pad", "bos", "action"), 0),
      **dict.fromkeys(("level 1", "level 2"), 1),
      **{"extra age": 0.1, "extra author": 2, "other": 0.5},
      **{"context hour": 0, "context tab": 0},
    }
  )
  with pytest.raises(ValueError, match="'levels'.*Did you mean 'level'"):
    type_weights(FULL, {"levels": 1})
  for name in ("bos", "pad"):
    with pytest.raises(ValueError, match=f"weights has '{name}'"):
      type_weights(FULL, {name: 1})
  for value in (-1, float("nan")):
    with pytest.raises(ValueError, match="must be 0 or more"):
      type_weights(FULL, {"level": value})
