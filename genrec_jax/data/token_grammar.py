# SPDX-License-Identifier: Apache-2.0
"""A grammar of typed tokens: of what a sequence of events is made, in order.

    sequence := bos (other | request)*
    request  := context_1 .. context_C item (item | other)*
    item     := code_1 .. code_M extra_1 .. extra_E action      "after"
              | extra_1 .. extra_E code_1 .. code_M action      `extras_first`

Every type has a range of one joint vocabulary: token = start of the type + its
value. Without context a request is no more than its items. `other` is an event
without an item, such as a search. An action is one token of all tasks
(`combined`: 0 = not known, 1 + bit mask) or one token per task in their order
(0 = not known, 1 = no, 2 = yes): of the first a softmax makes combinations
exclusive, of the second each task is told those before it.

Extras hold for an item at a moment, so they are known once it is: behind its
codes. In front of them they would tell the codes; that form is a control for
leaks.

A finite automaton over types says what may come next; its tables are arrays:

    next_state_SK   state, type  -> state; the last state is that of an error
    allowed_SV      state, token -> whether it may come next
"""

from collections.abc import Sequence
import dataclasses
import functools

from jaxtyping import Bool, Int
import numpy as np

PAD, BOS = 0, 1
GROUPS = ("pad", "bos", "level", "action", "extra", "context", "other")
# Tokens of all combinations: 2^T + 1.
_MAX_COMBINED = 10
_UNKNOWN, _NO, _YES = 0, 1, 2

Sizes = tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class TokenType:
  """A range of the vocabulary.

  Attributes:
    name: unique in its grammar.
    group: of GROUPS.
    start: its first token.
    size: its tokens.
  """

  name: str
  group: str
  start: int
  size: int


@dataclasses.dataclass(frozen=True)
class TokenGrammar:
  """See the module docstring.

  Attributes:
    level_sizes: codes of each of the M levels of an item's ID.
    actions: tasks, whose bits make an action.
    combined: an action is one token; False = one per task.
    extras: (name, values) of what is told of an item at its moment.
    extras_first: extras stand before the ID.
    context: (name, values) of what is told of a request; () = nothing.
    other: kinds of events without an item.
  """

  level_sizes: tuple[int, ...]
  actions: tuple[str, ...]
  combined: bool = True
  extras: Sizes = ()
  extras_first: bool = False
  context: Sizes = ()
  other: tuple[str, ...] = ()

  def __post_init__(self):
    for what in ("level_sizes", "actions"):
      if not getattr(self, what):
        raise ValueError(f"{what}=() must have at least one entry.")
    sizes = {f"level_sizes[{m}]": n for m, n in enumerate(self.level_sizes)}
    sizes |= {f"extras {name!r}": n for name, n in self.extras}
    sizes |= {f"context {name!r}": n for name, n in self.context}
    for what, size in sizes.items():
      if size < 1:
        raise ValueError(f"{what} has {size} values; it needs at least 1.")
    for what, found in (
      ("actions", self.actions),
      ("extras", [name for name, _ in self.extras]),
      ("context", [name for name, _ in self.context]),
      ("other", self.other),
    ):
      twice = [name for name in found if list(found).count(name) > 1]
      if twice:
        raise ValueError(f"{what} has {twice[0]!r} twice; name each once.")
    if self.combined and len(self.actions) > _MAX_COMBINED:
      raise ValueError(
        f"combined=True makes 2^{len(self.actions)} tokens of"
        f" {len(self.actions)} actions; give at most {_MAX_COMBINED}, or set it"
        " to False."
      )

  @functools.cached_property
  def types(self) -> tuple[TokenType, ...]:
    """All types; 0 is padding, 1 begins a sequence."""
    found: list[TokenType] = []

    def add(name: str, group: str, size: int):
      start = found[-1].start + found[-1].size if found else 0
      found.append(TokenType(name, group, start, size))

    add("pad", "pad", 1)
    add("bos", "bos", 1)
    for level, size in enumerate(self.level_sizes):
      add(f"level {level + 1}", "level", size)
    if self.combined:
      add("action", "action", 1 + 2 ** len(self.actions))
    else:
      for name in self.actions:
        add(f"action {name}", "action", 3)
    for group, sizes in (("extra", self.extras), ("context", self.context)):
      for name, size in sizes:
        add(f"{group} {name}", group, size)
    if self.other:
      add("other", "other", len(self.other))
    return tuple(found)

  @property
  def num_tokens(self) -> int:
    """V, tokens of all types."""
    return self.types[-1].start + self.types[-1].size

  def group(self, name: str) -> tuple[int, ...]:
    """Types of a group, in order."""
    return tuple(i for i, kind in enumerate(self.types) if kind.group == name)

  @functools.cached_property
  def asked(self) -> tuple[int, ...]:
    """Types of an item that is asked about: its block up to the action."""
    levels, extras = self.group("level"), self.group("extra")
    return extras + levels if self.extras_first else levels + extras

  @functools.cached_property
  def block(self) -> tuple[int, ...]:
    """Types of an item's tokens, in their order."""
    return self.asked + self.group("action")

  def most(self, kind: int, length: int) -> int:
    """Tokens of a type that there can be among so many of whole events.

    Events of any number of users; none of padding or bos is ever asked for.
    """
    group = self.types[kind].group
    if group in ("pad", "bos"):
      return 0
    if group == "other":
      return length
    context = len(self.group("context")) if group == "context" else 0
    return length // (context + len(self.block))

  @functools.cached_property
  def start_K(self) -> Int[np.ndarray, "K"]:
    """First token of each type."""
    return np.array([kind.start for kind in self.types], np.int32)

  @functools.cached_property
  def size_K(self) -> Int[np.ndarray, "K"]:
    """Tokens of each type."""
    return np.array([kind.size for kind in self.types], np.int32)

  @functools.cached_property
  def type_V(self) -> Int[np.ndarray, "V"]:
    """Type of each token."""
    kinds = np.arange(len(self.types), dtype=np.int32)
    return np.repeat(kinds, self.size_K)

  @functools.cached_property
  def action_values(self) -> Int[np.ndarray, "masks A"]:
    """Values of an action's tokens, by 1 + bit mask; row 0 is not known."""
    masks = np.arange(-1, 2 ** len(self.actions))
    if self.combined:
      return (masks[:, None] + 1).astype(np.int32)
    bits = masks[:, None] >> np.arange(len(self.actions))[None, :] & 1
    values = np.where(bits > 0, _YES, _NO)
    return np.where(masks[:, None] < 0, _UNKNOWN, values).astype(np.int32)

  def mask_of(self, values: Sequence[int]) -> int:
    """The bit mask that an action's values tell; -1 = not known.

    Raises:
      ValueError: tasks of which some are known and some are not.
    """
    if self.combined:
      return values[0] - 1
    unknown = [value == _UNKNOWN for value in values]
    if any(unknown) and not all(unknown):
      raise ValueError(
        f"of the actions {self.actions} some are known and some are not"
        f" (values {tuple(values)}); an event has all or none."
      )
    if unknown[0]:
      return -1
    return sum((value == _YES) << bit for bit, value in enumerate(values))

  # The automaton.

  @functools.cached_property
  def _states(self) -> tuple[Int[np.ndarray, "S K"], int, int, int]:
    """next_state_SK, and the states between requests, before and behind an
    item."""
    context, (other,) = self.group("context"), self.group("other") or (None,)
    closed = 1
    asked = closed + len(context)
    # Without context one state is all three.
    behind = asked + len(self.block) if context else closed
    dead = asked + len(self.block) + bool(context)
    table = np.full((dead + 1, len(self.types)), dead, np.int32)
    # Padding says nothing, and is never allowed.
    table[:, PAD] = np.arange(dead + 1)
    table[0, BOS] = closed
    for place, kind in enumerate(context):
      table[closed + place, kind] = closed + place + 1
    for place, kind in enumerate(self.block):
      last = place + 1 == len(self.block)
      table[asked + place, kind] = behind if last else asked + place + 1
    if context:
      table[behind, context[0]] = table[closed, context[0]]
      table[behind, self.block[0]] = table[asked, self.block[0]]
    if other is not None:
      table[closed, other] = closed
      table[behind, other] = behind
    return table, closed, asked, behind

  @property
  def next_state_SK(self) -> Int[np.ndarray, "S K"]:
    """State after a token of each type; state 0 is before the first."""
    return self._states[0]

  @property
  def asking(self) -> int:
    """The state in which a request's first item is asked for."""
    return self._states[2]

  @property
  def borders(self) -> tuple[int, ...]:
    """States at which a whole sequence may end."""
    return tuple(sorted({self._states[1], self._states[3]}))

  @functools.cached_property
  def allowed_SK(self) -> Bool[np.ndarray, "S K"]:
    """Types that may come next."""
    allowed = self.next_state_SK < len(self.next_state_SK) - 1
    allowed[:, PAD] = False
    return allowed

  @functools.cached_property
  def allowed_SV(self) -> Bool[np.ndarray, "S V"]:
    """Tokens that may come next."""
    return self.allowed_SK[:, self.type_V]

  def allowed_names(self, state: int) -> str:
    """Types that may come next, for messages."""
    kinds = np.flatnonzero(self.allowed_SK[state])
    return ", ".join(self.types[kind].name for kind in kinds) or "nothing"

  # Names.

  @functools.cached_property
  def names(self) -> tuple[str, ...]:
    """What each token means; unique, and '' for padding.

    Tokens of one name mean the same in two grammars. Values of extras and of
    context are named with how many there are: a tenth is not a hundredth.
    """
    found = ["", "bos"]
    for kind in self.types[BOS + 1 :]:
      found += [f"{kind.name}: {value}" for value in self._values(kind)]
    return tuple(found)

  def _values(self, kind: TokenType) -> list[str]:
    if kind.group == "other":
      return list(self.other)
    if kind.group == "action" and not self.combined:
      return ["unknown", "no", "yes"]
    if kind.group == "action":
      done = [
        "|".join(a for bit, a in enumerate(self.actions) if mask >> bit & 1)
        for mask in range(kind.size - 1)
      ]
      return ["unknown", *(text or "none" for text in done)]
    end = "" if kind.group == "level" else f" of {kind.size}"
    return [f"{value}{end}" for value in range(kind.size)]
