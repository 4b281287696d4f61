# SPDX-License-Identifier: Apache-2.0
"""What every answer to a bad input must be.

A ValueError (for a command, exit status 1 or 2 and `error: ...`) with the words
that matter, of at most 20 lines, that shows nobody's rows: tables put SECRET
into theirs, and it must not come back, not even from a chained exception.
"""

import re
import traceback
from typing import Any

import pytest

SECRET = "jo@example.org"


def check(text: str, words: str) -> None:
  """Asserts that a text is an answer, with a pattern in it."""
  assert re.search(words, text, re.DOTALL), text
  assert len(text.splitlines()) <= 20, text
  assert len(text) <= 2000, text
  for word in (
    SECRET,
    "Traceback",
    "fault of the library",
    "polars.exceptions",
    "pyo3",
  ):
    assert word not in text, text


def refused(words: str, call: Any, *arguments: Any, **options: Any) -> None:
  """Asserts that a call is refused, and how."""
  with pytest.raises(ValueError) as caught:
    call(*arguments, **options)
  check(str(caught.value), words)
  # What Python prints of it, where it is not caught.
  assert SECRET not in "".join(traceback.format_exception(caught.value))
