# SPDX-License-Identifier: Apache-2.0
"""A file is replaced whole, or stays as it was and leaves nothing behind."""

import pytest

from genrec_jax.core import atomic
from genrec_jax.core.suggest import choices_hint


def test_the_new_text_replaces_the_old(tmp_path):
  path = tmp_path / "a.json"
  for text in ("one", "zwei ä"):
    atomic.write_text(path, text)
    assert path.read_text(encoding="utf-8") == text
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_error_keeps_the_old_and_leaves_nothing(tmp_path):
  path = tmp_path / "a.json"
  atomic.write_text(path, "old")
  with pytest.raises(OSError, match="full"), atomic.replacing(path) as new:
    new.write_text("half")
    raise OSError("disk full")
  assert path.read_text() == "old"
  assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_hint_names_the_nearest_and_all():
  assert choices_hint("stepz", ["steps", "log"]) == (
    " Did you mean 'steps'? Choices: log, steps."
  )
  assert choices_hint("q", ["steps"]) == " Choices: steps."
  assert choices_hint("q", []) == " There is none."
