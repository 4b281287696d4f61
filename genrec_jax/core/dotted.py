# SPDX-License-Identifier: Apache-2.0
"""A nested config as one level: {"a": {"b": 1}} is {"a.b": 1}.

Two configs are compared key by key, and a key is written as the command line
writes it: `--config.a.b=1`. An empty mapping has no keys.
"""

from collections.abc import Mapping
from typing import Any


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
