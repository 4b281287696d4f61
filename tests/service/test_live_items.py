# SPDX-License-Identifier: Apache-2.0
"""What is said of items counts from then on."""

import numpy as np
import pytest

from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.service.live_items import LiveItems
from genrec_jax.service.store import ItemState
from genrec_jax.serving.item_filter import NothingLeft
from tests.service.fakes import STORED


def test_dead_items_and_attributes_of_now():
  catalog = Catalog(STORED / "data")
  before = catalog.attributes.clone()
  ids = catalog.ids
  states = {
    ids[1]: ItemState(dead=True),
    ids[2]: ItemState(attributes={"category": "new kind", "stock": 3}),
    ids[3]: ItemState(attributes={"stock": 0}),
    "nobody's": ItemState(dead=True),
  }
  items = LiveItems.of(catalog, states)
  allowed = items.mask(None, [], {}).dense()[0]
  assert np.flatnonzero(~allowed).tolist() == [0, 1]
  allowed = items.mask(None, [], {"category": "new kind"}).dense()[0]
  assert np.flatnonzero(allowed).tolist() == [2]
  allowed = items.mask(ids[1:4], [ids[3]], {"stock": [0, 3]}).dense()[0]
  assert np.flatnonzero(allowed).tolist() == [2]
  assert items.catalog.attribute_texts("stock", np.array([2, 3, 4])) == [
    "3",
    "0",
    None,
  ]
  # The catalogue that others use is as it was.
  assert catalog.attributes.equals(before)
  with pytest.raises(NothingLeft):
    items.mask([ids[1]], [ids[1]], {})
  with pytest.raises(ValueError, match="no attribute"):
    items.mask(None, [], {"colour": "red"})
  with pytest.raises(ValueError, match="no attribute"):
    items.catalog.attribute_texts("colour", np.array([1]))


def test_a_value_that_an_attribute_cannot_have_is_refused():
  catalog = Catalog(STORED / "data")
  states = {catalog.ids[1]: ItemState(attributes={"category": 5})}
  with pytest.raises(ValueError, match="'category' cannot have"):
    LiveItems.of(catalog, states)
