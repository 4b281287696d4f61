# SPDX-License-Identifier: Apache-2.0
"""What if a token had been another: of a prompt, or of all candidates.

    TokenChange("context context.hour", 3)         the hour of this request
    TokenChange("extra recent.id.7", 9, nth=-2)    popularity of an item before
    TokenChange("extra recent.id.7", 9, nth=0, candidates=True)

All else is held fixed, also what would go with it in data: it is what the MODEL
makes of a token. A token becomes another of its type, so that the grammar has
the sequence still. Whole events are changed by ranking/what_if.py.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.token_grammar import BOS, TokenGrammar


@dataclasses.dataclass(frozen=True)
class TokenChange:
  """One token of every row.

  Attributes:
    kind: name of its type.
    value: within the type, from 0.
    nth: which token of that type: -1 is the last of the prompt, 0 the first.
    candidates: the candidates' own instead, of which each has one a type.
  """

  kind: str
  value: int
  nth: int = -1
  candidates: bool = False


def with_changes(
  grammar: TokenGrammar,
  batch: Mapping[str, Any],
  changes: Sequence[TokenChange],
) -> dict[str, Any]:
  """A batch of impressions with other tokens; places are those of before.

  Raises:
    ValueError: no changes, a type or a value that there is not, or a row that
      has no such token.
  """
  if not changes:
    raise ValueError("what_if needs at least one change of a token.")
  token_BL = np.array(batch["token_BL"])
  asked = {**batch}
  for change in changes:
    kind = _kind(grammar, change)
    token = grammar.types[kind].start + change.value
    if change.candidates:
      asked["candidate_token_BNT"] = _of_candidates(
        grammar, asked["candidate_token_BNT"], kind, token, change
      )
      continue
    is_kind_BL = grammar.type_V[token_BL] == kind
    for row, is_kind_L in enumerate(is_kind_BL):
      (places,) = np.nonzero(is_kind_L)
      if not -len(places) <= change.nth < len(places):
        raise ValueError(
          f"row {row} has {len(places)} tokens of type {change.kind!r}, and"
          f" nth={change.nth} is none of them."
        )
      token_BL[row, places[change.nth]] = token
  # Types stay, and with them all else that a batch tells.
  return {**asked, "token_BL": token_BL}


def _kind(grammar: TokenGrammar, change: TokenChange) -> int:
  names = [kind.name for kind in grammar.types]
  if change.kind not in names[BOS + 1 :]:
    raise ValueError(
      f"there is no type of tokens {change.kind!r}."
      + choices_hint(change.kind, names[BOS + 1 :])
    )
  kind = names.index(change.kind)
  size = grammar.types[kind].size
  if not 0 <= change.value < size:
    raise ValueError(
      f"value={change.value} of {change.kind!r}, which has values 0 to"
      f" {size - 1}."
    )
  return kind


def _of_candidates(
  grammar: TokenGrammar, token_BNT: Any, kind: int, token: int, change: Any
) -> Int[np.ndarray, "B N T"]:
  if kind not in grammar.asked:
    names = [grammar.types[k].name for k in grammar.asked]
    raise ValueError(
      f"candidates have no token of type {change.kind!r}."
      + choices_hint(change.kind, names)
    )
  token_BNT = np.array(token_BNT)
  place = grammar.asked.index(kind)
  there_BN = token_BNT[:, :, place] > 0
  token_BNT[:, :, place] = np.where(there_BN, token, 0)
  return token_BNT
