# SPDX-License-Identifier: Apache-2.0
"""Which configs are made of different parts.

Training and compiling take long. What of one config is proved by tracing it is
proved of those that have the same parts in other sizes; and every part is
trained, and compiled for a TPU, in some config.
"""

from collections.abc import Iterable, Iterator
import importlib
from typing import Any

from genrec_jax.core.build import to_plain

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


def of_different_parts(
  forms: Iterable[tuple[str, str]],
) -> list[tuple[str, str]]:
  """The first config and variants of each set of parts."""
  found = {}
  for name, form in forms:
    found.setdefault(_parts(name, form), (name, form))
  return list(found.values())


def with_every_part(names: Iterable[str]) -> list[str]:
  """Configs that have all parts of `names` between them, in form `quicktest`.

  Few of them: in turn the one with the most parts that those before lack.
  """
  parts = {name: _parts(name, "quicktest") for name in names}
  missing, found = frozenset().union(*parts.values()), []
  while missing:
    best = max(parts, key=lambda name: len(parts[name] & missing))
    found.append(best)
    missing -= parts[best]
  return sorted(found)
