# SPDX-License-Identifier: Apache-2.0
"""Which configs are made of different parts.

Training and compiling take long. What of one config is proved by tracing it is
proved of those that have the same parts in other sizes, and of those in which
no two parts meet that do not meet in others; and every part is trained, and
compiled for a TPU, in some config.
"""

from collections.abc import Iterable, Iterator, Mapping
import importlib
from itertools import combinations
from typing import Any, TypeVar

from genrec_jax.core.build import to_plain

T = TypeVar("T")

_OF_A_PROGRAM = ("system", "objective", "pipeline", "retrieval", "optimizer")


def _words(node: Any, name: str = "") -> Iterator[str]:
  """All strings of a config, names of parts and of types of numbers, and its
  switches."""
  if isinstance(node, dict):
    for key, one in node.items():
      yield from _words(one, key)
  elif isinstance(node, list | tuple):
    for one in node:
      yield from _words(one, name)
  elif isinstance(node, str):
    yield node
  elif isinstance(node, bool) or node is None:
    yield f"{name}={node}"


def _parts(name: str, form: str) -> frozenset[str]:
  config = importlib.import_module(f"configs.{name}").get_config(form)
  plain = to_plain(config)
  return frozenset(_words([plain.get(part) for part in _OF_A_PROGRAM]))


def with_every_pair(
  forms: Iterable[tuple[str, str]],
) -> list[tuple[str, str]]:
  """Configs and variants in which all parts meet that meet in any of `forms`.

  Few of them: a third of what differs differs in nothing but how parts meet
  that stand together elsewhere, too.
  """
  parts = {}
  for name, form in forms:
    parts.setdefault(_parts(name, form), (name, form))
  return _cover(
    {form: {*combinations(sorted(of), 2)} for of, form in parts.items()}
  )


def with_every_part(
  names: Iterable[str], elsewhere: Iterable[tuple[str, str]] = ()
) -> list[str]:
  """Configs that have all parts of `names` between them, in form `quicktest`.

  Args:
    names: of configs.
    elsewhere: configs and variants whose parts another test is about.
  """
  there = frozenset().union(*(_parts(*form) for form in elsewhere))
  return sorted(_cover({n: {*_parts(n, "quicktest") - there} for n in names}))


def _cover(sets: Mapping[T, set[Any]]) -> list[T]:
  """Few of them that hold all between them: in turn the one with the most that
  those before lack."""
  missing, found = set().union(*sets.values()), []
  while missing:
    best = max(sets, key=lambda name: len(sets[name] & missing))
    found.append(best)
    missing -= sets[best]
  return found
