# SPDX-License-Identifier: Apache-2.0
"""What options of an evaluator may be: of the kinds that its fields name.

    check_options(NextItem, {"ks": (1, 10)}, "config.evals.next_item")

Cut-offs, which are called `ks` everywhere, are whole numbers from 1 on in
rising order.
"""

from collections.abc import Mapping
import dataclasses
import numbers
import types
import typing
from typing import Any

from genrec_jax.core.suggest import short

_SAID = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "text",
  type(None): "None",
}


def check_options(kind: Any, values: Mapping[str, Any], where: str) -> None:
  """Raises a ValueError that names the first option that cannot be.

  Args:
    kind: class of the evaluator, a dataclass; of another nothing is known.
    values: by option; nodes that are still to be built are passed over.
    where: path of its node in the config.
  """
  if not dataclasses.is_dataclass(kind):
    return
  for field in dataclasses.fields(kind):
    value = values.get(field.name)
    if field.name not in values or _is_built_first(value):
      continue
    if isinstance(value, list):
      value = tuple(value)
    if field.name == "ks":
      _check_ks(value, f"{where}.ks")
    elif not fits(value, field.type):
      raise ValueError(
        f"{where}.{field.name} must be {_said(field.type)}, got {short(value)}."
      )


def fits(value: Any, kind: Any) -> bool:
  """Whether a value is of the type of a field."""
  if typing.get_origin(kind) in (typing.Union, types.UnionType):
    return any(fits(value, one) for one in typing.get_args(kind))
  if typing.get_origin(kind) is tuple and typing.get_args(kind)[1:] == (...,):
    of = typing.get_args(kind)[0]
    return isinstance(value, tuple) and all(fits(x, of) for x in value)
  if typing.get_origin(kind) is Mapping:
    return isinstance(value, Mapping)
  if kind in (int, float):
    number = numbers.Integral if kind is int else numbers.Real
    return isinstance(value, number) and not isinstance(value, bool)
  # Of other hints no more is asked than of those that are text.
  return not isinstance(kind, type) or isinstance(value, kind)


def _said(kind: Any) -> str:
  """What a type of a field asks for."""
  if typing.get_origin(kind) in (typing.Union, types.UnionType):
    return " or ".join(map(_said, typing.get_args(kind)))
  if typing.get_origin(kind) is tuple:
    return "a list, such as [1, 10]"
  if typing.get_origin(kind) is Mapping:
    return 'values by name, such as {"a": 1}'
  name = kind.__name__ if isinstance(kind, type) else str(kind)
  return _SAID.get(kind, f"a {name}")


def _is_built_first(value: Any) -> bool:
  """Whether it is a node of the config, or holds some."""
  values = value if isinstance(value, list | tuple) else [value]
  return any(isinstance(x, Mapping) for x in values)


def _check_ks(ks: Any, where: str) -> None:
  """Raises where these are no cut-offs."""
  rising = (
    fits(ks, tuple[int, ...])
    and len(ks) > 0
    and ks[0] >= 1
    and all(a < b for a, b in zip(ks, ks[1:], strict=False))
  )
  if not rising:
    raise ValueError(
      f"{where} must be cut-offs, whole numbers from 1 on in rising order such"
      f" as (1, 5, 10), got {short(ks)}."
    )
