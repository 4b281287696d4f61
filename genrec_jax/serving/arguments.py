# SPDX-License-Identifier: Apache-2.0
"""Arguments that people give, checked where they enter.

Each function returns the value, or raises a ValueError that names the argument
and says what it must be.
"""

from collections.abc import Mapping
import numbers
import os
from typing import Any

from genrec_jax.core.suggest import short


def whole(name: str, value: Any, least: int | None = None) -> int:
  """A whole number, of at least so much."""
  if isinstance(value, bool) or not isinstance(value, numbers.Integral):
    raise ValueError(f"{name}={short(value)} must be a whole number")
  if least is not None and value < least:
    raise ValueError(f"{name}={value} must be at least {least}")
  return int(value)


def switch(name: str, value: Any) -> bool | None:
  """True or False, or None for what is usual."""
  if value is not None and not isinstance(value, bool):
    raise ValueError(f"{name}={short(value)} must be True, False or None")
  return value


def truth(name: str, value: Any) -> bool:
  """True or False."""
  if not isinstance(value, bool):
    raise ValueError(f"{name}={short(value)} must be True or False")
  return value


def several(name: str, value: Any, what: str) -> list[Any]:
  """What can be iterated over, and is no text, no mapping and no table."""
  try:
    elements = iter(value)
  except TypeError:
    elements = None
  # Iterating over one of either library gives no rows.
  table = type(value).__name__ == "DataFrame"
  if elements is None or table or isinstance(value, str | bytes | Mapping):
    raise ValueError(f"{name}={short(value)} must be a list of {what}")
  return list(elements)


def one_id(name: str, value: Any, otherwise: str) -> Any:
  """One id; `otherwise` says what to do with several."""
  try:
    iter(value)
  except TypeError:
    return value
  if not isinstance(value, str | bytes):
    raise ValueError(f"{name}={short(value)} must be one id. {otherwise}")
  return value


def in_order(name: str, value: Any, what: str) -> list[Any]:
  """A list, whose places count."""
  if isinstance(value, set | frozenset):
    raise ValueError(f"{name}={short(value)} has no order; give a list")
  return several(name, value, what)


def path(name: str, value: Any) -> str | os.PathLike:
  """A path."""
  if not isinstance(value, str | os.PathLike):
    raise ValueError(f"{name}={short(value)} must be a path")
  return value
