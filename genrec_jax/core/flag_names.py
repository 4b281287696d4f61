# SPDX-License-Identifier: Apache-2.0
"""Flags under both spellings: --all-users is --all_users.

Absl knows a flag by its Python name only. A script takes either spelling with

    app.run(main, flags_parser=parse_flags)

What is rewritten is the name, up to the first "=": values stay as they are,
and so does everything after a lone "--".
"""

from collections.abc import Sequence

from absl import app


def with_underscores(argv: Sequence[str]) -> list[str]:
  """Returns argv with "-" in the names of flags replaced by "_"."""
  words = list(argv)
  end = words.index("--") if "--" in words else len(words)
  for place, word in enumerate(words[:end]):
    if word.startswith("--"):
      name, equals, value = word[2:].partition("=")
      words[place] = f"--{name.replace('-', '_')}{equals}{value}"
  return words


def parse_flags(argv: Sequence[str]) -> list[str]:
  """Absl's parser, for either spelling; returns what is no flag."""
  return app.parse_flags_with_usage(with_underscores(argv))
