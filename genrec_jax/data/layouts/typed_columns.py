# SPDX-License-Identifier: Apache-2.0
"""Columns of an example of typed tokens: one int32 each for every token.

    token item time query_time label weight user

A token's time is its request's, but that of an action, and of an event without
an item, is when it came. query_time is when the label is asked for: when the
request was made that the label is of. A weight is the bits of its float32.
"""

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.core.types import UNKNOWN_TIME
from genrec_jax.data.layouts.request_events import measurable
from genrec_jax.data.layouts.token_values import TokenWindow
from genrec_jax.data.token_grammar import TokenGrammar
from genrec_jax.data.token_sequence import TokenSequence

COLUMNS = ("token", "item", "time", "query_time", "label", "weight", "user")
_PLACE = {name: place for place, name in enumerate(COLUMNS)}
# Tokens that come when something was done, and those that are of no item.
_CAME = ("action", "other")
_ITEMLESS = ("bos", "context", "other")


def history_rows(
  grammar: TokenGrammar,
  window: TokenWindow,
  weight_K: Float[np.ndarray, "K"],
  skip_weight: float,
  user: int,
  counted_n: Bool[np.ndarray, "n"] | None = None,
) -> Int[np.ndarray, "T C"]:
  """Rows of bos and the events of a window.

  Args:
    grammar: of the tokens.
    window: the events.
    weight_K: how much labels of each type count.
    skip_weight: times this for codes of items on which no task was done.
    user: index.
    counted_n: events of window.seen whose labels count; None = all.
  """
  seen = window.seen
  tokens = TokenSequence.of(grammar, window.events, window.asked_N)
  of_T = np.append(window.of_N, -1)[tokens.event_T]
  group_K = np.array([kind.group for kind in grammar.types])
  group_T, label_T = group_K[tokens.type_T], tokens.label_T
  request_T = np.append(seen.request_time, UNKNOWN_TIME)[of_T]
  event_T = np.append(seen.time, UNKNOWN_TIME)[of_T]
  item_T = np.append(seen.item, 0)[of_T]
  asked_kind_T = grammar.type_V[label_T]
  # A label is of the next token's event; the last has none.
  next_T = np.append(of_T[1:], -1)
  asked = np.append(seen.asked, False)[next_T]
  nothing = np.append(seen.label == 0, False)[next_T]
  asked_group_T = group_K[asked_kind_T]
  weight_T = weight_K[asked_kind_T]
  skipped = (asked_group_T == "level") & asked & nothing
  weight_T = np.where(skipped, weight_T * skip_weight, weight_T)
  weight_T = np.where((asked_group_T == "action") & ~asked, 0.0, weight_T)
  if counted_n is not None:
    weight_T = np.where(np.append(counted_n, False)[next_T], weight_T, 0.0)
  rows = np.zeros((len(of_T), len(COLUMNS)), np.int32)
  for name, column in {
    "token": tokens.token_T,
    "item": np.where(np.isin(group_T, _ITEMLESS), 0, item_T),
    "time": measurable(np.where(np.isin(group_T, _CAME), event_T, request_T)),
    "query_time": measurable(np.append(request_T[1:], event_T[-1:])),
    "label": label_T,
    "weight": weight_T.astype(np.float32).view(np.int32),
    "user": user,
  }.items():
    rows[:, _PLACE[name]] = column
  return rows


def with_context(
  grammar: TokenGrammar,
  rows: Int[np.ndarray, "T C"],
  values: Int[np.ndarray, "c"],
  time: int,
  user: int,
) -> Int[np.ndarray, "P C"]:
  """A history with the context of a request behind it, and no label.

  Args:
    grammar: of the tokens.
    rows: of the history.
    values: of the context's types.
    time: when the request is made, which the history's last token asks about.
    user: index.
  """
  asked = measurable(np.array(time, np.int32))
  more = np.zeros((len(values), len(COLUMNS)), np.int32)
  kinds = list(grammar.group("context"))
  more[:, _PLACE["token"]] = grammar.start_K[kinds] + values
  more[:, _PLACE["time"]] = more[:, _PLACE["query_time"]] = asked
  more[:, _PLACE["user"]] = user
  rows = rows.copy()
  rows[-1, _PLACE["query_time"]] = asked
  found = np.concatenate([rows, more])
  found[:, [_PLACE["label"], _PLACE["weight"]]] = 0
  return found
