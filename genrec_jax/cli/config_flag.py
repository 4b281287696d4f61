# SPDX-License-Identifier: Apache-2.0
"""--config=FILE.py:VARIANTS, and --config.KEY=VALUE for its values.

A file has `get_config`, which takes the variants and returns a ConfigDict. A
config that is shipped goes by its name, wherever the command is started:
`--config=hstu_movielens:quicktest`. A value is read as the type that the config
has there: text as it stands, numbers, true and false, tuples as Python writes
them.
"""

import ast
from collections.abc import Mapping, Sequence
import importlib.util
import inspect
import pathlib
import pkgutil
import re
import traceback
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict

import configs
from genrec_jax.cli.ending import UsageError
from genrec_jax.core.dotted import section_of
from genrec_jax.core.suggest import choices_hint

_WORD = re.compile(r"--?(no)?config(\.[^=]*)?(=.*)?", re.DOTALL)
_SCALARS = {
  bool: (flags.BooleanParser(), "true or false"),
  int: (flags.IntegerParser(), "a whole number"),
  float: (flags.FloatParser(), "a number"),
}


class ConfigFlag:
  """The config of a command line.

  Attributes:
    about: what it is for.
    argument: as written, None where it is not.
    changes: key and text of every --config.KEY=TEXT, in their order.
  """

  def __init__(self, about: str):
    self.about = about
    self.argument: str | None = None
    self.changes: list[tuple[str, str]] = []
    self._value: ConfigDict | None = None

  @property
  def value(self) -> ConfigDict:
    """The config with its changes."""
    if self._value is None:
      raise ValueError("--config is not loaded")
    return self._value

  @property
  def words(self) -> list[str]:
    """The same as arguments for another command."""
    changes = [f"--config.{key}={text}" for key, text in self.changes]
    return [f"--config={self.argument}", *changes]

  def take(self, words: Sequence[str]) -> list[str]:
    """Keeps what is said of the config; returns the other words.

    Raises:
      UsageError: a flag without a value.
    """
    self.argument, self.changes, self._value = None, [], None
    end = list(words).index("--") if "--" in words else len(words)
    mine, rest = list(words[:end]), []
    while mine:
      word = mine.pop(0)
      match = _WORD.fullmatch(word)
      if match is None:
        rest.append(word)
        continue
      no, key, text = match.groups()
      if text is not None:
        text = text[1:]
      elif no:
        text = "false"
      elif mine and not mine[0].startswith("-"):
        text = mine.pop(0)
      elif key:
        text = "true"
      if not key:
        if not text or no:
          raise UsageError(f"{word} needs a file or a name: --config=...")
        self.argument = text
      else:
        self.changes.append((key[1:], text))
    return [*rest, *words[end:]]

  def load(self) -> None:
    """Reads the file, where there is one, and makes the changes.

    Raises:
      UsageError: no such file, one that fails, an unknown variant or key, or a
        value of another type.
    """
    if self.argument is None:
      if self.changes:
        raise UsageError(f"--config.{self.changes[0][0]} needs --config=...")
      return
    config = load_config(self.argument)
    tuples: dict[str, tuple] = {}
    for key, text in self.changes:
      try:
        _change(config, key, text, tuples)
      except UsageError as error:
        raise UsageError(f"{error}{self._simulated(key)}") from error
    self._value = config.lock()

  def _simulated(self, key: str) -> str:
    _, _, variants = self.argument.partition(":")
    if key.startswith("data.") and "quicktest" in variants.split("-"):
      return (
        " The variant quicktest simulates its data; without it the config"
        " reads yours."
      )
    return ""


def shipped() -> list[str]:
  """Names of the configs that come with the library."""
  names = [module.name for module in pkgutil.iter_modules(configs.__path__)]
  return [n for n in names if "\ndef get_config(" in _file(n).read_text()]


def _file(name: str) -> pathlib.Path:
  return pathlib.Path(configs.__file__).with_name(f"{name}.py")


def load_config(argument: str) -> ConfigDict:
  """The config of FILE.py:VARIANTS or NAME:VARIANTS.

  Raises:
    UsageError: see ConfigFlag.load.
  """
  file, colon, variants = argument.partition(":")
  path = pathlib.Path(file).absolute()
  if not path.is_file() and file in shipped():
    path = _file(file)
  if not path.is_file():
    near = pathlib.Path(file).parent.glob("*.py")
    hint = choices_hint(file, {*shipped(), *map(str, near)})
    raise UsageError(f"--config={argument}: there is no file {file}.{hint}")
  module = _module(path)
  functions = [n for n, f in vars(module).items() if inspect.isfunction(f)]
  if "get_config" not in functions:
    raise UsageError(
      f"--config={argument}: {path} has no function get_config."
      + choices_hint("get_config", functions)
    )
  given = (variants,) if colon else ()
  try:
    inspect.signature(module.get_config).bind(*given)
  except TypeError as error:
    raise UsageError(
      f"--config={argument}: get_config of {path} takes no variants."
      if colon
      else f"--config={argument}: get_config of {path}: {error}."
    ) from error
  try:
    config = module.get_config(*given)
  except ValueError as error:
    raise UsageError(f"--config={argument}: {error}") from error
  except Exception as error:
    raise UsageError(_failed(path, error)) from error
  if not isinstance(config, ConfigDict | Mapping):
    raise UsageError(
      f"--config={argument}: get_config of {path} returns"
      f" {type(config).__name__}, not a ConfigDict."
    )
  return config if isinstance(config, ConfigDict) else ConfigDict(config)


def _module(path: pathlib.Path) -> ModuleType:
  """Runs a file."""
  spec = importlib.util.spec_from_file_location("config_file", path)
  if spec is None:
    raise UsageError(f"--config={path}: a config is a Python file, *.py.")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except SyntaxError as error:
    where = f"{path}, line {error.lineno}" if error.lineno else str(path)
    raise UsageError(f"{where}: {error.msg}") from error
  except Exception as error:
    raise UsageError(_failed(path, error)) from error
  return module


def _failed(path: pathlib.Path, error: Exception) -> str:
  """Where in the file, and what."""
  frames = traceback.extract_tb(error.__traceback__)
  lines = [f.lineno for f in frames if f.filename == str(path)]
  where = f"{path}, line {lines[-1]}" if lines else str(path)
  return f"{where}: {type(error).__name__}: {error}"


def _change(
  config: ConfigDict, key: str, text: str, tuples: dict[str, tuple]
) -> None:
  """Sets one value; `tuples` has those of flags that are written repeatedly."""
  try:
    node, last = section_of(config, key)
  except ValueError as error:
    raise UsageError(f"unknown key --config.{key}: {error}") from error
  kind = node.get_type(last)
  value = _read(kind, text, f"--config.{key}={text}")
  if isinstance(value, tuple):
    value = tuples[key] = tuples.get(key, ()) + value
  node[last] = value


def _read(kind: type, text: str, where: str) -> Any:
  """A value of a type from its text."""
  if issubclass(kind, str):
    return text
  if kind in _SCALARS:
    parser, wanted = _SCALARS[kind]
    try:
      return parser.parse(text)
    except (TypeError, ValueError) as error:
      raise UsageError(f"{where} must be {wanted}.") from error
  is_dict = issubclass(kind, ConfigDict | dict)
  is_tuple = issubclass(kind, tuple | list)
  try:
    value = ast.literal_eval(
      text.capitalize() if text in ("true", "false", "none") else text
    )
  except (SyntaxError, ValueError) as error:
    if is_tuple and re.search(r"[\s,()\[\]]", text):
      raise UsageError(
        f"{where} must be a tuple as Python writes it, as \"('a', 'b')\"."
      ) from error
    value = text
  if is_dict and not isinstance(value, dict):
    raise UsageError(f"{where} must be a dict as Python writes it.")
  if is_dict:
    return ConfigDict(value)
  if is_tuple:
    return tuple(value) if isinstance(value, tuple | list | set) else (value,)
  return value
