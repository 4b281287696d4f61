# SPDX-License-Identifier: Apache-2.0
"""Flags under both spellings: --all-users is --all_users.

Absl knows a flag by its Python name only. What is rewritten is the name, up to
the first "=": values stay as they are, and so does everything after a lone
"--".
"""

from collections.abc import Sequence


def with_underscores(argv: Sequence[str]) -> list[str]:
  """Returns argv with "-" in the names of flags replaced by "_"."""
  words = list(argv)
  end = words.index("--") if "--" in words else len(words)
  for place, word in enumerate(words[:end]):
    if word.startswith("--"):
      name, equals, value = word[2:].partition("=")
      words[place] = f"--{name.replace('-', '_')}{equals}{value}"
  return words
