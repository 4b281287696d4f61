# SPDX-License-Identifier: Apache-2.0
"""A nested config as one level: {"a": {"b": 1}} is {"a.b": 1}.

Two configs are compared key by key, and a key is written as the command line
writes it: `--config.a.b=1`. An empty mapping has no keys.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from genrec_jax.core.suggest import choices_hint


def section_of(config: ConfigDict, key: str) -> tuple[ConfigDict, str]:
  """The section that holds a dotted key, and the key's name in it.

  Raises:
    ValueError: no such section or key; names the nearest.
  """
  node, place = config, "config"
  *parents, last = key.split(".")
  for name in parents:
    _check_in(node, place, name)
    node, place = node[name], f"{place}.{name}"
  _check_in(node, place, last)
  return node, last


def _check_in(node: Any, place: str, name: str) -> None:
  if not isinstance(node, ConfigDict) or not len(node):
    raise ValueError(f"{place} has no keys.")
  if name not in node:
    hint = choices_hint(name, node.keys())
    raise ValueError(f"{place} has no {name!r}.{hint}")


def flat(node: Mapping[str, Any]) -> dict[str, Any]:
  """Dotted key -> value, for every value that is not a mapping."""
  found = {}
  for key, value in node.items():
    if isinstance(value, Mapping):
      found |= {f"{key}.{rest}": v for rest, v in flat(value).items()}
    else:
      found[key] = value
  return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """Keys of two flat configs that differ, sorted.

  A switch that only one of them knows came later, and is off (None or False)
  in the other.
  """
  return [
    key
    for key in sorted(old.keys() | new.keys())
    if _value(old, key) != _value(new, key)
  ]


def _value(config: Mapping[str, Any], key: str) -> Any:
  value = config.get(key)
  return None if value is False else value
