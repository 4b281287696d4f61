# SPDX-License-Identifier: Apache-2.0
"""Words in the text of an event's action; data/dataset/feedback.py reads it."""

from collections.abc import Sequence

SEPARATOR = "|"
SKIP = "skip"
UNTIMED = "untimed"
UNASKED = "unasked"
# Of an event whose item is what the user looked for: its text is the query.
QUERY = "query"
LATER = "later:"
# They say something of an event, and nothing that the user did.
MARKS = frozenset({"", SKIP, UNTIMED, UNASKED})


def words(joined: str) -> frozenset[str]:
  """The words of a text, in no order."""
  found = (word.strip() for word in joined.split(SEPARATOR))
  return frozenset(word for word in found if word)


def places(vocabulary: Sequence[str]) -> dict[frozenset[str], int]:
  """Words -> index of the first text that has them.

  Where no text has them alone, one does that says besides what was done later,
  or that nobody is asked about the event.
  """
  found: dict[frozenset[str], int] = {}
  for index, text in enumerate(vocabulary):
    found.setdefault(words(text), index)
  for index, text in enumerate(vocabulary):
    later = {word for word in words(text) if word.startswith(LATER)}
    found.setdefault(words(text) - later - {UNASKED}, index)
  return found
