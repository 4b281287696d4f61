# SPDX-License-Identifier: Apache-2.0
"""A command: its text, its flags, its function.

    COMMAND = Command(__doc__)
    _WORKDIR = COMMAND.string("workdir", None, "Where the run lives.")
    COMMAND.require("workdir")

    @COMMAND.does
    def main() -> None:
      print(_WORKDIR.value)

Flags are absl's, each command's apart from the others' (absl keeps one set per
process otherwise). A flag's name may be written with - or with _.
"""

from collections.abc import Callable, Sequence
import functools
import re
import textwrap

from absl import flags

from genrec_jax.cli.config_flag import ConfigFlag
from genrec_jax.cli.ending import UsageError, silence
from genrec_jax.cli.listing import HELP
from genrec_jax.core.flag_names import with_underscores
from genrec_jax.core.suggest import choices_hint


class Command:
  """One command.

  Attributes:
    about: what it says of itself; the first line is its line in the overview.
    values: its flags.
    config: the flag --config, for commands that have it.
    string, bool, integer, float, list, enum, multi_string: define a flag, with
      the arguments of absl's DEFINE_string and so on.
  """

  def __init__(self, about: str):
    self.about = about
    self.values = flags.FlagValues()
    self.config: ConfigFlag | None = None
    self._required: tuple[str, ...] = ()
    self._collects: str | None = None
    self._main: Callable[[], int | None] | None = None
    own = {"flag_values": self.values}
    self.string = functools.partial(flags.DEFINE_string, **own)
    self.bool = functools.partial(flags.DEFINE_bool, **own)
    self.integer = functools.partial(flags.DEFINE_integer, **own)
    self.float = functools.partial(flags.DEFINE_float, **own)
    self.list = functools.partial(flags.DEFINE_list, **own)
    self.enum = functools.partial(flags.DEFINE_enum, **own)
    self.multi_string = functools.partial(flags.DEFINE_multi_string, **own)

  def config_file(self, about: str) -> ConfigFlag:
    """Defines --config and --config.KEY."""
    self.config = ConfigFlag(about)
    return self.config

  def require(self, *names: str) -> None:
    """Flags without which the command does not start."""
    self._required = names

  def collects(self, name: str) -> None:
    """Lets a flag that is a list take the words behind it: --NAME A B."""
    self._collects = name

  def does(self, main: Callable[[], int | None]) -> Callable[[], int | None]:
    """Decorates what it does; that returns the exit status, None for 0."""
    self._main = main
    return main

  @property
  def names(self) -> list[str]:
    """Names of its flags."""
    return [*(["config"] if self.config else []), *self.values]

  def is_given(self, name: str) -> bool:
    """Whether a flag was written."""
    return bool(self.values[name].present)

  def start(self, name: str, arguments: Sequence[str]) -> int:
    """Parses the arguments and does it; returns the exit status.

    Raises:
      UsageError: arguments that cannot be.
    """
    words = (
      arguments[: list(arguments).index("--")]
      if ("--" in arguments)
      else arguments
    )
    if HELP.intersection(words):
      print(self.help(name))
      return 0
    self.parse(name, arguments)
    # Libraries have flags of their own, which keep their defaults.
    if not flags.FLAGS.is_parsed():
      flags.FLAGS([f"genrec {name}"])
    silence()
    return self._main() or 0

  def parse(self, name: str, arguments: Sequence[str]) -> None:
    """Sets the flags.

    Raises:
      UsageError: an unknown flag or key, one that is missing, or a value that
        cannot be; names the nearest.
    """
    words = with_underscores(arguments)
    self.values.unparse_flags()
    if self.config is not None:
      words = self.config.take(words)
    try:
      rest = self.values([name, *words])[1:]
    except flags.UnrecognizedFlagError as error:
      hint = choices_hint(error.flagname, self.names)
      raise UsageError(f"unknown flag --{error.flagname}.{hint}") from error
    except flags.Error as error:
      raise UsageError(self._illegal(str(error))) from error
    if rest and self._collects and self.is_given(self._collects):
      self.values[self._collects].value += rest
    elif rest:
      raise UsageError(
        f"{rest[0]!r} is no flag; genrec {name} takes --NAME=VALUE alone."
        + choices_hint(rest[0], self.names)
      )
    missing = [n for n in self._required if not self._has(n)]
    if missing:
      raise UsageError(
        f"genrec {name} needs {' and '.join(f'--{n}=...' for n in missing)}"
        f" (genrec {name} --help)."
      )
    if self.config is not None:
      self.config.load()

  def _has(self, name: str) -> bool:
    if name == "config":
      return self.config.argument is not None
    return self.values[name].value not in (None, "", [])

  def _illegal(self, text: str) -> str:
    """What absl says of a value, with what it may be."""
    found = re.match(r"flag --(\w+)=(.*?): ", text, re.DOTALL)
    if found is None:
      return text
    name, value = found.groups()
    parser = self.values[name].parser
    if isinstance(parser, flags.EnumParser):
      hint = choices_hint(value, parser.enum_values)
      return f"--{name}={value} is no choice.{hint}"
    if isinstance(parser, flags.IntegerParser):
      low = parser.lower_bound
      least = "" if low is None else f" of at least {low}"
      return f"--{name}={value} must be a whole number{least}."
    if isinstance(parser, flags.FloatParser):
      return f"--{name}={value} must be a number."
    if isinstance(parser, flags.BooleanParser):
      return f"--{name}={value} must be true or false."
    return text

  def help(self, name: str) -> str:
    """What the command is for, and its flags."""
    found = [
      f for group in self.values.flags_by_module_dict().values() for f in group
    ]
    lines = [self.about.strip(), "", f"Flags of genrec {name}:"]
    texts = {f.name: f.help for f in found}
    if self.config is not None:
      texts = {"config": self.config.about, **texts}
    for flag, text in texts.items():
      lines.append(f"  --{flag}")
      lines += textwrap.wrap(
        text, 76, initial_indent=" " * 6, subsequent_indent=" " * 6
      )
    return "\n".join(lines)
