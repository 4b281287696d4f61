# SPDX-License-Identifier: Apache-2.0
"""What to say of a wrong name: the nearest choice, and all of them."""

from collections.abc import Iterable
import difflib


def choices_hint(wrong: str, choices: Iterable[str]) -> str:
  """Returns " Did you mean 'x'? Choices: x, y.", a space first."""
  choices = sorted(choices)
  close = difflib.get_close_matches(wrong, choices, n=1)
  hint = f" Did you mean {close[0]!r}?" if close else ""
  return f"{hint} Choices: {', '.join(choices)}."
