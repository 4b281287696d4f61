# SPDX-License-Identifier: Apache-2.0
"""What to say of a wrong name: the nearest choice, and all of them.

Values come from users' files and calls, so messages show them cut.
"""

from collections.abc import Iterable
import difflib

_MOST_CHOICES = 40
_MOST_CHARACTERS = 60


def choices_hint(wrong: object, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'? Choices: x, y.", a space first."""
  choices = sorted(map(str, choices))
  if not choices:
    return " There is none."
  hint = nearest_hint(wrong, choices)
  shown = ", ".join(map(_cut, choices[:_MOST_CHOICES]))
  more = len(choices) - _MOST_CHOICES
  return f"{hint} Choices: {shown}{f', and {more} more' if more > 0 else ''}."


def nearest_hint(wrong: object, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'?", a space first; "" where nothing is near."""
  close = difflib.get_close_matches(str(wrong)[:1000], list(choices), n=1)
  return f" Did you mean {short(close[0])}?" if close else ""


def short(value: object) -> str:
  """Its repr, cut where it is long: what a message shows of a value."""
  return _cut(repr(value))


def _cut(text: str) -> str:
  """One line of a text."""
  text = text.replace("\n", "\\n").replace("\r", "\\r")
  if len(text) <= _MOST_CHARACTERS:
    return text
  return text[: _MOST_CHARACTERS - 3] + "..."
