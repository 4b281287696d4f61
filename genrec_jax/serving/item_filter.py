# SPDX-License-Identifier: Apache-2.0
"""Which items a caller wants recommended at all: lists of ids, attributes.

    mask_V1 = ItemFilter(deny=["sku-4"], where={"category": "Bowl"}).of(catalog)

An id that the catalogue does not know is no error: shops have items that no
model has seen. A filter that leaves nothing is one, and says which part did.
"""

from collections.abc import Collection, Mapping
import dataclasses
import decimal
from typing import Any

from jaxtyping import Bool
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint, short
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.serving import arguments

_TRUTH = {"true": 1, "false": 0}


class NothingLeft(ValueError):
  """A filter that no item of the catalogue passes."""


@dataclasses.dataclass(frozen=True)
class ItemFilter:
  """Allowed are items that all of the following allow.

  Attributes:
    allow: ids of these alone, in whatever can be iterated over; None = all.
    deny: ids of none of these, likewise.
    where: attribute of the item table -> a value, or several of which an item
      has one. Numbers and truth values count by value (3, "3" and 3.0 are one,
      and so are True, "true", 1 and "1"), all else by its text. An item whose
      value is missing is left out.
  """

  allow: Any = None
  deny: Any = ()
  where: Any = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    for name in ("allow", "deny"):
      ids = getattr(self, name)
      if name == "deny" or ids is not None:
        # Once: a generator can be read no second time.
        ids = arguments.several(name, ids, "item ids")
        object.__setattr__(self, name, ids)
    if not isinstance(self.where, Mapping):
      raise ValueError(
        f"where={short(self.where)} must map attributes to values, such as"
        ' {"colour": "red"}'
      )

  def __bool__(self) -> bool:
    """Whether it asks for anything."""
    return self.allow is not None or len(self.deny) > 0 or len(self.where) > 0

  def of(self, catalog: Catalog) -> Bool[np.ndarray, "V1"]:
    """Allowed items by index; False for padding.

    Raises:
      ValueError: an unknown attribute (names those there are).
      NothingLeft: no item passes (says after what).
    """
    allowed_V1 = np.ones(catalog.num_items + 1, bool)
    allowed_V1[0] = False
    if self.allow is not None:
      allowed_V1 &= _among(catalog, self.allow)
      self._check(allowed_V1, f"allow: none of its {len(self.allow):,} ids is")
    for name, values in self.where.items():
      has_V1 = _having(catalog, name, values)
      allowed_V1 &= has_V1
      self._check(
        allowed_V1, f"where {name}={short(values)}: no item that has it is"
      )
    if self.deny:
      allowed_V1 &= ~_among(catalog, self.deny)
      self._check(
        allowed_V1, f"deny of {len(self.deny):,} ids: no other item is"
      )
    return allowed_V1

  def _check(self, allowed_V1: np.ndarray, what: str) -> None:
    if not allowed_V1.any():
      raise NothingLeft(
        f"nothing is left to recommend after {what} in the catalogue or left by"
        " the filters before."
      )


def _among(catalog: Catalog, ids: Collection[object]) -> np.ndarray:
  found = catalog.known(ids)
  mask = np.zeros(catalog.num_items + 1, bool)
  mask[found] = True
  mask[0] = False
  return mask


def _having(catalog: Catalog, name: Any, values: Any) -> np.ndarray:
  """Items one of whose values of an attribute is wanted."""
  table = catalog.known_attributes
  if name not in table.columns:
    raise ValueError(
      f"where has {short(name)}, which is no attribute of the items."
      + (
        choices_hint(name, table.columns)
        if table.columns
        else " None is known of them."
      )
    )
  if isinstance(values, str | bytes) or not isinstance(values, Collection):
    values = [values]
  column = table[name]
  is_list = isinstance(column.dtype, pl.List)
  kind = column.dtype.inner if is_list else column.dtype
  if kind.is_numeric() or kind == pl.Boolean:
    what = "true or false" if kind == pl.Boolean else "a number"
    try:
      if kind.is_integer():
        # As text, which is exact at any width.
        wanted = [str(n) for n in map(_whole, values) if n is not None]
        kind = pl.String
      else:
        kind, wanted = pl.Float64, [_number(value) for value in values]
    except ValueError:
      raise ValueError(
        f"where {name}={short(values)}: {name} is {what} in the item table."
      ) from None
  else:
    kind, wanted = pl.String, [str(value) for value in values]
  if is_list:
    elements = column.cast(pl.List(kind)).list
    found = elements.eval(pl.element().is_in(wanted)).list.any()
  else:
    found = column.cast(kind).is_in(wanted)
  return np.concatenate([[False], found.fill_null(False).to_numpy()])


def _number(value: Any) -> float:
  """A number or a truth value, which may be written as text."""
  text = str(value).strip().lower()
  return float(_TRUTH.get(text, text))


def _whole(value: Any) -> int | None:
  """A whole number, however it is written; None for one that is not whole."""
  # The digits of a float are fewer than it holds.
  number = value if isinstance(value, float) else str(value).strip().lower()
  try:
    exact = decimal.Decimal(_TRUTH.get(number, number))
  except decimal.InvalidOperation:
    raise ValueError(f"{value!r} is no number") from None
  # No column has wider ones, and huge exponents take long to write out.
  if not exact.is_finite() or abs(exact) >= 2**128:
    return None
  return int(exact) if exact == int(exact) else None
