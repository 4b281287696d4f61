# SPDX-License-Identifier: Apache-2.0
"""Small catalogues, vectors and tables for the tests of tokens."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core.artifact import content_hash
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import LeaveOneOut


@dataclasses.dataclass(frozen=True)
class Rows:
  """A source of items by id; one user has an event with each."""

  items: dict

  def read(self) -> RawLog:
    count = len(self.items["item"])
    return RawLog(
      events=pl.DataFrame(
        {
          "user": ["u"] * count,
          "item": self.items["item"],
          "timestamp": list(range(count)),
        }
      ),
      items=pl.DataFrame(self.items),
    )


@dataclasses.dataclass(frozen=True)
class Letters:
  """Encodes a text as how often it has each of ten letters, plus a slope."""

  letters: str = "abcdefghij"

  @property
  def fingerprint(self) -> str:
    return f"letters-{self.letters}"

  def describe(self) -> dict:
    return {"name": "Letters", "letters": self.letters}

  def encode(self, texts):
    rows = [[text.count(x) for x in self.letters] for text in texts]
    return np.array(rows, np.float32)


@pytest.fixture
def make_catalog(tmp_path):
  """Catalogue of columns by name: item, title and any attributes."""
  made = []

  def make(**columns) -> Catalog:
    directory = tmp_path / f"data{len(made)}"
    prepare(Rows(columns), LeaveOneOut(), directory)
    made.append(directory)
    return Catalog(directory)

  return make


@pytest.fixture
def make_vectors(make_catalog, tmp_path):
  """ItemVectors of titles by id."""

  def make(titles: dict[str, str], letters: str = "abcdefghij") -> ItemVectors:
    catalog = make_catalog(item=list(titles), title=list(titles.values()))
    directory = tmp_path / f"vectors-{content_hash(titles, letters)}"
    return ItemVectors.make(catalog, Letters(letters), "{title}", directory)

  return make
