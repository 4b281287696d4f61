# SPDX-License-Identifier: Apache-2.0
"""Which configs are made of different parts.

Training and compiling take long. What of one config is proved by doing so is
proved of those that have the same parts in other sizes.
"""

from collections.abc import Iterable, Iterator
import importlib
from typing import Any

from genrec_jax.core.build import to_plain

_OF_A_PROGRAM = ("system", "objective", "pipeline", "retrieval")


def _strings(node: Any) -> Iterator[str]:
  """All strings of a config: names of parts and of types of numbers."""
  if isinstance(node, dict | list | tuple):
    for one in node.values() if isinstance(node, dict) else node:
      yield from _strings(one)
  elif isinstance(node, str):
    yield node


def of_different_parts(names: Iterable[str]) -> list[str]:
  """The first config of each set of parts, in the form `quicktest`."""
  found = {}
  for name in names:
    config = importlib.import_module(f"configs.{name}").get_config("quicktest")
    plain = to_plain(config)
    nodes = [plain.get(section) for section in _OF_A_PROGRAM]
    parts = frozenset(_strings(nodes))
    found.setdefault(parts, name)
  return list(found.values())
