# SPDX-License-Identifier: Apache-2.0
"""Amazon reviews of 1996-2014, one category, 5-core.

    Amazon2014("Beauty", path="folder")

The folder holds the publisher's reviews_Beauty_5.json.gz and
meta_Beauty.json.gz, or the compact Beauty.interactions.csv.gz and
Beauty.items.jsonl.gz with the same events without ratings. Every review is an
event. Times have the resolution of a day, so many tie: the order in the file
(the column pos in the compact one) decides; where a compact file has no time
in any row it is the order of all. Titles and category paths become
the item table; a path is written "Beauty > Makeup > Nails".

Source: J. McAuley et al., Image-based recommendations on styles and
substitutes, SIGIR 2015; https://jmcauley.ucsd.edu/data/amazon/ .
"""

import ast
from collections.abc import Iterator
import dataclasses
import gzip
import json
import pathlib
import re
from typing import Any

from absl import logging
import polars as pl
from tqdm import tqdm

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.sources import tables

_ITEM_ID = re.compile(r"""["']asin["']: *["']([^"']+)["']""")
_URL = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"


@dataclasses.dataclass(frozen=True)
class Amazon2014:
  """One category of the Amazon reviews.

  Attributes:
    category: as in the file names, such as Beauty or Sports_and_Outdoors.
    path: the folder of the two files.
  """

  category: str = "Beauty"
  path: str = ""

  def read(self) -> schema.RawLog:
    """Opens the reviews and reads the items.

    Raises:
      ValueError: files missing, truncated or damaged.
    """
    reviews, items = self._files()
    if reviews.name.endswith(".csv.gz"):
      log = tables.open_table(
        reviews, ["reviewer_id", "pos", "asin", "unix_time"]
      )
      columns = {"user": "reviewer_id", "item": "asin"}
      columns |= {"timestamp": "unix_time", "order": "pos"}
      kept = None
      times = log.rows.select(pl.col("unix_time").is_not_null().any())
      if not dataclasses.replace(log, rows=times).collect().item():
        logging.info("%s has no times: its order is kept", reviews.name)
        del columns["timestamp"]
    else:
      columns = {"user": "reviewerID", "item": "asin"}
      columns |= {"timestamp": "unixReviewTime", "value": "overall"}
      log = tables.open_table(reviews, columns.values())
      reviewed = dataclasses.replace(
        log, rows=log.rows.select(pl.col("asin").unique())
      )
      kept = set(reviewed.collect()["asin"].to_list())
    return schema.RawLog(
      events=log.rows.select(
        pl.col(column).alias(role) for role, column in columns.items()
      ),
      items=_items(items, kept),
      sources=self.checksums(),
      explain=log.explain,
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the two files."""
    return checksums.sha256(self._files())

  def _files(self) -> tuple[pathlib.Path, pathlib.Path]:
    compact = (
      f"{self.category}.interactions.csv.gz",
      f"{self.category}.items.jsonl.gz",
    )
    published = (
      f"reviews_{self.category}_5.json.gz",
      f"meta_{self.category}.json.gz",
    )
    fix = (
      f" Download {' and '.join(published)} from {_URL} into one folder and"
      " give it as path=."
    )
    if not self.path:
      raise checksums.MissingSource(f"Amazon2014 needs path= a folder.{fix}")
    folder = pathlib.Path(self.path)
    if not folder.is_dir():
      raise checksums.MissingSource(f"there is no folder {folder}.{fix}")
    for names in (published, compact):
      paths = tuple(folder / name for name in names)
      if all(path.is_file() for path in paths):
        return paths
    there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
    raise checksums.MissingSource(
      f"{folder} holds neither {' and '.join(published)} nor"
      f" {' and '.join(compact)}; it holds {there}.{fix}"
    )


def _items(path: pathlib.Path, kept: set[str] | None) -> pl.DataFrame:
  """Item, title and categories (paths) of the items in `kept`, or of all."""
  checksums.check_gzip(path)
  rows = {"item": [], "title": [], "categories": []}
  for row in _item_rows(path, kept):
    paths = row.get("categories") or []
    rows["item"].append(row.get("asin"))
    rows["title"].append(row.get("title") or "")
    rows["categories"].append([" > ".join(steps) for steps in paths])
  return pl.DataFrame(
    rows,
    schema={
      "item": pl.String,
      "title": pl.String,
      "categories": pl.List(pl.String),
    },
  )


def _item_rows(
  path: pathlib.Path, kept: set[str] | None
) -> Iterator[dict[str, Any]]:
  # The publisher's lines are Python literals and not JSON; literal_eval reads
  # those and nothing that runs. Most products have no review in the 5-core.
  with gzip.open(path, "rt", encoding="utf-8") as file:
    bar = tqdm(file, desc=f"read {path.name}", unit=" lines", delay=2)
    for number, line in enumerate(bar, 1):
      if not line.strip():
        continue
      item = _ITEM_ID.search(line)
      if kept is not None and item is not None and item[1] not in kept:
        continue
      try:
        yield _parse(line)
      except (ValueError, SyntaxError) as e:
        raise ValueError(
          f"line {number} of {path} is neither JSON nor a Python literal: {e}."
        ) from e


def _parse(line: str) -> dict[str, Any]:
  try:
    row = json.loads(line)
  except ValueError:
    row = ast.literal_eval(line.strip())
  if not isinstance(row, dict):
    raise ValueError("it is not an object with names")
  return row
