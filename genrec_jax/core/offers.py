# SPDX-License-Identifier: Apache-2.0
"""What an object offers of a protocol, and what it lacks.

    require(system, QueryModel, "config.system")     once, where it enters

Nobody else asks an object whether it has a method.
"""

from typing import Any, Protocol

from flax.errors import DescriptorAttributeError as AttributeErrorOfFlax


def members(protocol: type) -> tuple[str, ...]:
  """Names that a protocol asks for."""
  found: dict[str, None] = {}
  for cls in protocol.__mro__:
    if not getattr(cls, "_is_protocol", False) or cls is Protocol:
      continue
    names = [*vars(cls).get("__annotations__", {}), *vars(cls)]
    found.update(
      (name, None)
      for name in names
      if not name.startswith("_") or name == "__call__"
    )
  return tuple(found)


def missing(thing: Any, protocol: type) -> tuple[str, ...]:
  """What an object (or a class) lacks of a protocol."""
  return tuple(n for n in members(protocol) if not _has(thing, n))


def _has(thing: Any, name: str) -> bool:
  if isinstance(thing, type):
    # A field without a default is none of the class's attributes.
    fields = (vars(cls).get("__annotations__", {}) for cls in thing.__mro__)
    return hasattr(thing, name) or any(name in known for known in fields)
  try:
    return hasattr(thing, name)
  except AttributeErrorOfFlax:
    # Of a property that asks a part for what that lacks.
    return False


def is_seam(kind: Any) -> bool:
  """Whether a type is one of the protocols here."""
  return isinstance(kind, type) and bool(getattr(kind, "_is_protocol", False))


def offers(thing: Any, protocol: type) -> bool:
  """Whether an object has all that a protocol asks for."""
  return not missing(thing, protocol)


def require(thing: Any, protocol: type, where: str) -> None:
  """Raises a ValueError that says what an object lacks.

  Args:
    thing: what enters.
    protocol: what it must offer.
    where: its place in the config, for the error.
  """
  lacking = missing(thing, protocol)
  if lacking:
    doc = (protocol.__doc__ or "").splitlines()[0].rstrip(".")
    raise ValueError(
      f"{where} ({type(thing).__name__}) lacks {', '.join(lacking)}, which"
      f" {protocol.__name__} asks for: {doc[:1].lower()}{doc[1:]}."
    )
