# SPDX-License-Identifier: Apache-2.0
"""Events -> the tokens of a grammar, and what each token is asked for.

    token    bos  s1  s2  s3  age  click    s1 ...
    label    s1   s2  s3  age click s1      s2 ...
    event    -1   0   0   0   0   0         1  ...

The label of a token is the one behind it. An action may be told otherwise than
it is asked for: what followed later is a label and no input.
data/token_parser.py is the way back.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.token_events import TokenEvents
from genrec_jax.data.token_grammar import BOS, GROUPS, PAD, TokenGrammar


@dataclasses.dataclass(frozen=True, eq=False)
class TokenSequence:
  """T tokens.

  Attributes:
    token_T: of the joint vocabulary; the first is BOS.
    type_T: of the grammar's types.
    event_T: number of the event that a token belongs to; -1 = of none.
    label_T: what is asked at a token: the one behind it, and PAD at the last.
  """

  token_T: Int[np.ndarray, "T"]
  type_T: Int[np.ndarray, "T"]
  event_T: Int[np.ndarray, "T"]
  label_T: Int[np.ndarray, "T"]

  @classmethod
  def of(
    cls,
    grammar: TokenGrammar,
    events: TokenEvents,
    asked_N: Int[np.ndarray, "N"] | None = None,
  ) -> "TokenSequence":
    """The tokens of events.

    Args:
      grammar: of what they are made.
      events: oldest first.
      asked_N: actions as they are asked for; None = as they are told.

    Raises:
      ValueError: values that the grammar has not, or events out of order.
    """
    events.check(grammar)
    is_item = events.other_N == 0
    context, block = grammar.group("context"), grammar.block
    before_N = len(context) * events.starts_N
    size_N = np.where(is_item, before_N + len(block), 1)
    first_N = 1 + np.cumsum(size_N) - size_N
    count = 1 + int(size_N.sum())
    event_T = np.full(count, -1, np.int32)
    event_T[1:] = np.repeat(np.arange(len(events)), size_N)
    token_T = np.full(count, BOS, np.int32)
    told, starts = events.action_N, events.starts_N
    blocks_NK = block_tokens(grammar, events.codes_NM, events.extra_NE, told)
    at_NK = (first_N + before_N)[:, None] + np.arange(len(block))[None, :]
    token_T[at_NK[is_item]] = blocks_NK[is_item]
    for place, kind in enumerate(context):
      values = events.context_NC[starts, place]
      token_T[first_N[starts] + place] = grammar.types[kind].start + values
    for kind in grammar.group("other"):
      values = events.other_N[~is_item] - 1
      token_T[first_N[~is_item]] = grammar.types[kind].start + values
    wanted_T = token_T.copy()
    if asked_N is not None:
      asked_NK = block_tokens(
        grammar, events.codes_NM, events.extra_NE, asked_N
      )
      wanted_T[at_NK[is_item]] = asked_NK[is_item]
    return cls(
      token_T=token_T,
      type_T=grammar.type_V[token_T],
      event_T=event_T,
      label_T=np.append(wanted_T[1:], np.int32(PAD)).astype(np.int32),
    )


def block_tokens(
  grammar: TokenGrammar,
  codes_NM: Int[np.ndarray, "N M"],
  extra_NE: Int[np.ndarray, "N E"],
  action_N: Int[np.ndarray, "N"],
) -> Int[np.ndarray, "N K"]:
  """The tokens of items' blocks, in the order of the grammar.

  Candidates are the columns of `grammar.asked`, before the action.
  """
  about = [codes_NM, extra_NE]
  if grammar.extras_first:
    about.reverse()
  actions_NA = grammar.action_values[action_N + 1]
  values_NK = np.concatenate([*about, actions_NA], axis=1)
  starts_K = grammar.start_K[list(grammar.block)]
  return (values_NK + starts_K[None, :]).astype(np.int32)


def type_weights(
  grammar: TokenGrammar, weights: Mapping[str, Any]
) -> Float[np.ndarray, "K"]:
  """How much a label of each type counts; 0 for padding and bos.

  Args:
    grammar: whose types.
    weights: by group, or by the name of a type, which goes first; a group that
      is not named counts 0.

  Raises:
    ValueError: an unknown name, or a weight that is negative or no number.
  """
  names = [kind.name for kind in grammar.types]
  # A group may have no types: a config turns them on and off.
  choices = (*GROUPS[2:], *names[BOS + 1 :])
  for name, value in weights.items():
    if name not in choices:
      raise ValueError(
        f"weights has {name!r}, which is neither a group nor a type of"
        f" tokens.{choices_hint(name, choices)}"
      )
    if not (np.isfinite(value) and value >= 0):
      raise ValueError(f"weights[{name!r}]={value} must be 0 or more.")
  found = np.zeros(len(names), np.float32)
  for place, kind in enumerate(grammar.types):
    found[place] = weights.get(kind.name, weights.get(kind.group, 0.0))
  return found
