# SPDX-License-Identifier: Apache-2.0
"""`genrec COMMAND --flags`: finds the command, and imports no other.

genrec --help             what commands there are
genrec train --help       flags of one
"""

from collections.abc import Sequence
import importlib
import pathlib
import sys

from genrec_jax.cli.ending import (
  USAGE,
  ended,
  insist_on_signals,
  interrupted_at_once,
  leave,
)
from genrec_jax.cli.listing import HELP, listing
from genrec_jax.core import heap
from genrec_jax.core.suggest import choices_hint

# In the order of a run; each is the module, or the package of parts, of its
# name.
COMMANDS = (
  *("run", "prepare", "tokenize", "users", "train", "sweep", "evaluate"),
  *("report", "recommend", "rank", "serve", "compare", "compile", "export"),
  "bench",
)
# Those that stay small, however much they read and write.
_SMALL = ("recommend",)
# Those that want the same memory again and again.
_STEADY = ("train",)
_HELP = {"help", *HELP}


def overview() -> str:
  """Every command with the first line of what it says of itself."""
  lines = listing(pathlib.Path(__file__).parent, COMMANDS)
  usage = "usage: genrec COMMAND --flag=value ..."
  return "\n".join(
    [usage, "", *lines, "", "genrec COMMAND --help lists its flags."]
  )


def start(words: Sequence[str]) -> int:
  """Does what a command line asks for; returns the exit status.

  Args:
    words: the command's name and its arguments.
  """
  if not words or words[0] in _HELP:
    print(overview(), file=sys.stdout if words else sys.stderr)
    return 0 if words else USAGE
  name, *arguments = words
  if name not in COMMANDS:
    hint = choices_hint(name, COMMANDS)
    print(f"error: genrec has no command {name!r}.{hint}", file=sys.stderr)
    return USAGE
  if name in _SMALL:
    # What it imports starts threads.
    heap.share_arenas()
  if name in _STEADY:
    heap.keep_freed()

  def command():
    with interrupted_at_once():
      return importlib.import_module(f"genrec_jax.cli.{name}").COMMAND

  return ended(lambda: command().start(name, arguments))


def main(*words: str) -> None:
  """Entry point; `words` come before those of the command line."""
  insist_on_signals()
  leave(lambda: start([*words, *sys.argv[1:]]))
