# SPDX-License-Identifier: Apache-2.0
"""A command of several parts, each with flags of its own.

    COMMAND = Parts(__doc__, "genrec_jax.cli.bench", ("train_step", "pipeline"))

`genrec bench train_step --flags` does what COMMAND of the package's module
train_step does (command.py), and imports no other part.
"""

from collections.abc import Sequence
import importlib
import pathlib

from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError, interrupted_at_once
from genrec_jax.cli.listing import HELP, listing
from genrec_jax.core.suggest import nearest_hint


class Parts:
  """One command of parts.

  Attributes:
    about: what it says of itself; the first line is its line in the overview.
    package: where its parts are.
    names: of its parts; each is the module of its name.
  """

  def __init__(self, about: str, package: str, names: Sequence[str]):
    self.about = about
    self.package = package
    self.names = tuple(names)

  def part(self, name: str) -> Command:
    """The part of a name."""
    with interrupted_at_once():
      return importlib.import_module(f"{self.package}.{name}").COMMAND

  def start(self, name: str, arguments: Sequence[str]) -> int:
    """Does the part that is named; returns the exit status.

    Raises:
      UsageError: no part, an unknown one, or its arguments cannot be.
    """
    words = list(arguments)
    place = self._place(words)
    if place is None and HELP.intersection(words):
      print(self.help(name))
      return 0
    choices = f"name one of {', '.join(self.names)}."
    if place is None:
      raise UsageError(f"genrec {name} needs a part: {choices}")
    part = words.pop(place)
    if part not in self.names:
      hint = nearest_hint(part, self.names)
      raise UsageError(f"genrec {name} has no part {part!r}: {choices}{hint}")
    return self.part(part).start(f"{name} {part}", words)

  def _place(self, words: list[str]) -> int | None:
    """Of the part's name: first, or behind flags."""
    if words and not words[0].startswith("-"):
      return 0
    named = [i for i, word in enumerate(words) if word in self.names]
    # In "--workdir events" it may be a value, in "--json attention" it is not.
    sure = [
      i
      for i in named
      if "=" in words[i - 1] or not words[i - 1].startswith("-")
    ]
    return next(iter(sure or named[-1:]), None)

  def help(self, name: str) -> str:
    """What the command is for, and its parts."""
    folder = pathlib.Path(importlib.import_module(self.package).__file__).parent
    lines = [self.about.strip(), "", f"Parts of genrec {name}:"]
    lines += listing(folder, self.names)
    return "\n".join(
      [*lines, "", f"genrec {name} PART --help lists its flags."]
    )
