# SPDX-License-Identifier: Apache-2.0
"""How two systems differ, read off their configs node by node.

    system.backbone          backbones.HSTU -> backbones.CausalTransformer
      num_heads              2 -> 1
    - attention              layers.SiluAttention(normalizer=50.0)
    + ffn_width              50

A node is a mapping; a part is called by its public name. Equal sub-trees are
left out; "-" is what only the first has, "+" what only the second has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_NAME = "name"
_WIDTH = 26


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
  """The lines of the module docstring; '' where the configs are equal.

  Args:
    ours: a plain config.
    theirs: another one.
  """
  lines = []
  for path, head, changes in _nodes(ours, theirs, ()):
    if path:
      lines.append(f"{'.'.join(path):{_WIDTH}} {head}".rstrip())
    lines += changes
  return "\n".join(lines)


def _nodes(
  a: Mapping[str, Any], b: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
  """Nodes of both that differ in their own keys: path, new name, lines."""
  changes, below = [], []
  head = ""
  for key in [*a, *(key for key in b if key not in a)]:
    if key in a and key in b:
      if a[key] == b[key]:
        continue
      if isinstance(a[key], Mapping) and isinstance(b[key], Mapping):
        below.append(key)
      elif key == _NAME and path:
        head = f"{a[key]} -> {b[key]}"
      else:
        changes.append(_line(" ", key, f"{_text(a[key])} -> {_text(b[key])}"))
    else:
      sign, node = ("-", a) if key in a else ("+", b)
      changes.append(_line(sign, key, _text(node[key])))
  if changes or head:
    yield path, head, changes
  for key in below:
    yield from _nodes(a[key], b[key], (*path, key))


def _line(sign: str, key: str, text: str) -> str:
  return f"{sign} {key:{_WIDTH - 2}} {text}"


def _text(value: Any) -> str:
  """A value as a config writes it; a part as a call of its public name."""
  if isinstance(value, Mapping):
    told = {k: v for k, v in value.items() if k != _NAME}
    options = ", ".join(f"{k}={_text(v)}" for k, v in told.items())
    return f"{value[_NAME]}({options})" if _NAME in value else f"{{{options}}}"
  if isinstance(value, list | tuple):
    return f"({', '.join(map(_text, value))})"
  return repr(value)
