# SPDX-License-Identifier: Apache-2.0
"""The catalogue now: items that are dead, attributes that have changed.

    items = LiveItems.of(catalog, {"i3": ItemState(dead=True)})
    items.mask(allow=None, deny=["i7"], where={"colour": "red"})    ItemMask

An item that the model was not trained with cannot be recommended by it,
whatever is said of it: it waits for a model that knows it.
"""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
from typing import Any

from jaxtyping import Bool
import numpy as np
import polars as pl

from genrec_jax.core.suggest import short
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.service.store import ItemState
from genrec_jax.serving.item_filter import ItemFilter


@dataclasses.dataclass(frozen=True)
class LiveItems:
  """See the module docstring.

  Attributes:
    catalog: with the attributes of now.
    alive_V1: whether an item may be recommended; False for padding.
  """

  catalog: Catalog
  alive_V1: Bool[np.ndarray, "V1"]

  @classmethod
  def of(cls, catalog: Catalog, states: Mapping[str, ItemState]) -> "LiveItems":
    """Of a model's catalogue and all that was said of items.

    Raises:
      ValueError: a value that its attribute cannot have.
    """
    alive_V1 = np.ones(catalog.num_items + 1, bool)
    alive_V1[0] = False
    values: dict[str, dict[int, Any]] = {}
    for item, state in states.items():
      for place in catalog.known([item]).tolist():
        alive_V1[place] = not state.dead
        for name, value in state.attributes.items():
          values.setdefault(name, {})[place] = value
    if values:
      catalog = copy.copy(catalog)
      catalog.attributes = catalog.attributes.with_columns(
        [_changed(catalog, name, new) for name, new in values.items()]
      )
    return cls(catalog, alive_V1)

  def mask(
    self,
    allow: Sequence[str] | None,
    deny: Sequence[str],
    where: Mapping[str, Any],
  ) -> ItemMask:
    """What a request may get, as one row.

    Raises:
      NothingLeft: its filters leave nothing (serving/item_filter.py).
      ValueError: an unknown attribute.
    """
    wanted = ItemFilter(allow, deny, where)
    allowed_V1 = self.alive_V1
    if wanted:
      allowed_V1 = allowed_V1 & wanted.of(self.catalog)
    return ItemMask.of(allowed_V1[None])


def _changed(catalog: Catalog, name: str, new: Mapping[int, Any]) -> pl.Series:
  """A column of the item table with other values at some places."""
  there = name in catalog.attributes.columns
  old = catalog.attributes[name] if there else None
  values = [None] * catalog.num_items if old is None else old.to_list()
  for place, value in new.items():
    values[place - 1] = value
  try:
    return pl.Series(name, values, None if old is None else old.dtype)
  except (TypeError, pl.exceptions.PolarsError) as error:
    kind = "one kind" if old is None else str(old.dtype)
    raise ValueError(
      f"attribute {short(name)} cannot have all of the values that it is given"
      f" ({str(error)[:80]}): they must be of {kind}."
    ) from None
