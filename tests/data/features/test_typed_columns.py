# SPDX-License-Identifier: Apache-2.0
"""Columns of one's own files as features: numbers as numbers, text as text."""

import numpy as np
import pytest

from genrec_jax.core.build import build
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Catalog, Histories
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.features import ByType, Percentiles, Vocabulary
from genrec_jax.data.prepare import prepare
from genrec_jax.data.sources import Files

ITEMS = """sku,price,brand,on
1,10,x,true
2,20,y,false
3,30,x,true
4,,z,
"""


def _rows(tmp_path, *features, items=ITEMS, types=()):
  """Table rows of the item features of items 1, 2, ..."""
  log = tmp_path / "log.csv"
  log.write_text("user,item,did\n" + "".join(f"u,{i},a\n" for i in "12341"))
  (tmp_path / "items.csv").write_text(items)
  source = Files(
    str(log),
    timestamp=None,
    action="did",
    items_path=str(tmp_path / "items.csv"),
    items_item="sku",
    items_title=None,
    items_types=types,
  )
  prepare(source, LeaveOneOut(), tmp_path / "data")
  histories, catalog = Histories(tmp_path / "data"), Catalog(tmp_path / "data")
  nodes = [
    {"name": "features.Feature", "of": of, "encoder": encoder}
    for of, encoder in features
  ]
  features = build({"name": "features.FeatureSet", "features": nodes})
  feedback = Feedback(("a",)).bind(histories.manifest.actions)
  bound = features.bind(histories, catalog, feedback)
  return bound.fitted.items[1:].T.tolist()


_BY_TYPE = {"name": "features.ByType", "size": 5, "buckets": 3}


def test_numbers_and_text_are_encoded_by_their_type(tmp_path):
  price, brand, on = _rows(
    tmp_path,
    ("item.price", _BY_TYPE),
    ("item.brand", _BY_TYPE),
    ("item.on", _BY_TYPE),
  )
  # Ordered, and 0 where it is missing; training has items 1, 2 and 3.
  assert 0 < price[0] < price[1] < price[2] and price[3] == 0
  # x is the most common, z was not seen.
  assert brand == [2, 3, 2, 1]
  assert on[0] == on[2] != on[1] and on[3] == 0 and on[1] > 0


def test_a_number_declared_as_text_is_a_category(tmp_path):
  (rows,) = _rows(tmp_path, ("item.price", _BY_TYPE), types=("price=text",))
  assert rows == [2, 3, 4, 0]


def test_a_feature_of_the_wrong_type_is_named_with_a_value(tmp_path):
  percentiles = {"name": "features.Percentiles", "buckets": 4}
  message = "feature 'item.brand': percentiles need numbers.*such as 'x'"
  with pytest.raises(ValueError, match=message):
    _rows(tmp_path, ("item.brand", percentiles))


def test_a_table_by_type_has_rows_for_either():
  assert ByType(size=300, buckets=100).rows == Vocabulary(300).rows
  assert ByType(size=3, buckets=100).rows == Percentiles(100).rows
  ones = np.ones(3, np.int64)
  text = np.array(["a", None, "b"], object)
  assert ByType(size=3).fit(text, ones).ids(text).max() < ByType(size=3).rows
  for wrong in ({"size": 0}, {"buckets": 1}, {"min_count": 0}):
    with pytest.raises(ValueError, match="must be at least"):
      ByType(**wrong)
