# SPDX-License-Identifier: Apache-2.0
"""Config node -> object: the only place that reads configs.

A node is a mapping with a public name (core/names.py), such as
`name="layouts.NextItem"`, and keyword arguments. Nested nodes that have a name
are built first. Below `build` nobody sees a config: plain arguments only.

    build({"name": "backbones.HSTU", "num_layers": 2, ...})

Errors name the key, the place and the choices, because a config is the part
of the library that everybody types by hand.
"""

from collections.abc import Mapping
import dataclasses
import inspect
from typing import Any, TypeVar

from ml_collections import ConfigDict

from genrec_jax.core import seams
from genrec_jax.core.limits import check_numbers
from genrec_jax.core.names import resolve
from genrec_jax.core.suggest import choices_hint

_T = TypeVar("_T")


def _check_keywords(target: Any, kwargs: Mapping, where: str) -> None:
  """Raises a ValueError that names unknown and missing arguments."""
  parameters = inspect.signature(target).parameters.values()
  if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
    return
  # Linen modules take `parent` and a module name besides their own fields.
  hidden = {"parent", "name"}
  known = [p.name for p in parameters if p.name not in hidden]
  for key in kwargs:
    if key not in known:
      raise ValueError(
        f"unknown key {key!r} in {where} ({target.__name__})."
        + choices_hint(key, known)
      )
  missing = [
    p.name
    for p in parameters
    if p.name in known
    and p.default is inspect.Parameter.empty
    and p.kind
    not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    and p.name not in kwargs
  ]
  if missing:
    raise ValueError(
      f"{where} ({target.__name__}) needs {', '.join(missing)}; set"
      f" {where}.{missing[0]} in the config."
    )


def to_plain(node: Any) -> Any:
  """A ConfigDict as plain dicts, lists and scalars (for JSON)."""
  if isinstance(node, ConfigDict):
    node = node.to_dict()
  if isinstance(node, Mapping):
    return {str(k): to_plain(v) for k, v in node.items()}
  if isinstance(node, list | tuple):
    return [to_plain(v) for v in node]
  return node


def _build_value(value: Any, where: str) -> Any:
  if isinstance(value, Mapping):
    if "name" in value:
      return build(value, where=where)
    return {k: _build_value(v, f"{where}.{k}") for k, v in value.items()}
  if isinstance(value, list | tuple):
    return tuple(_build_value(v, f"{where}[{i}]") for i, v in enumerate(value))
  return value


def build(
  node: Mapping | ConfigDict, *, where: str = "config", **extra: Any
) -> Any:
  """Builds the object that a config node describes.

  Args:
    node: mapping with `name` and keyword arguments.
    where: path of the node in the config, for error messages.
    **extra: arguments that the config cannot know, such as num_items.

  Raises:
    ValueError: unknown name, unknown or missing key (with the choices), a key
      that is set in the config and by the caller, or a number that cannot be
      (core/limits.py).
  """
  node = to_plain(node)
  named = isinstance(node, Mapping) and isinstance(node.get("name"), str)
  if not named:
    raise ValueError(
      f"{where} must be a mapping with a 'name' that is text, got {node!r}."
    )
  target = resolve(node["name"], f"{where}.name")
  kwargs = {
    key: _build_value(value, f"{where}.{key}")
    for key, value in node.items()
    if key != "name"
  }
  both = sorted(set(kwargs) & set(extra))
  if both:
    raise ValueError(
      f"{where}.{both[0]} is set by the library; remove it from the config."
    )
  kwargs.update(extra)
  if not callable(target):
    raise ValueError(f"{where}.name={node['name']!r} is nothing to be built.")
  _check_keywords(target, kwargs, where)
  check_numbers(kwargs, where)
  _check_parts(target, kwargs, where)
  return target(**kwargs)


def build_options(
  cls: type[_T], node: Mapping | ConfigDict, *, where: str
) -> _T:
  """Builds the dataclass `cls` from a node without a name (config.train)."""
  if not dataclasses.is_dataclass(cls):
    raise TypeError(f"{cls} is not a dataclass.")
  kwargs = {
    key: _build_value(value, f"{where}.{key}")
    for key, value in to_plain(node).items()
  }
  _check_keywords(cls, kwargs, where)
  check_numbers(kwargs, where)
  _check_parts(cls, kwargs, where)
  return cls(**kwargs)


def _check_parts(target: Any, kwargs: Mapping[str, Any], where: str) -> None:
  """Raises where a part is not what its field asks for (core/seams.py)."""
  if not dataclasses.is_dataclass(target):
    return
  for field in dataclasses.fields(target):
    if field.name in kwargs and seams.is_seam(field.type):
      seams.require(kwargs[field.name], field.type, f"{where}.{field.name}")
