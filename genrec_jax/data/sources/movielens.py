# SPDX-License-Identifier: Apache-2.0
"""MovieLens 100k, 1m and 20m as GroupLens publishes them.

    MovieLens("1m", path="ml-1m.zip")    # the zip, or the folder inside it
    MovieLens("1m")                      # prepare() downloads it with TFDS

Every rating is an event, whatever its value; value = the rating. Ratings keep
their order in the file, which breaks ties in time. Titles and genres become
the item table. With a path, the files are parsed here, by Polars. Without one,
prepare() has TFDS download and prepare the set under WORKDIR/tfds (the builder
in data/sources/movielens_tfds.py, which parses by `parse` too) and reads that.

Source: F. M. Harper and J. A. Konstan, The MovieLens Datasets, 2015;
https://grouplens.org/datasets/movielens/ (research use, no redistribution).
"""

import dataclasses
import io
import os
import pathlib
from typing import Any

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema

_GENRES_100K = (
  "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary"
  "|Drama|Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller"
  "|War|Western"
).split("|")


@dataclasses.dataclass(frozen=True)
class Layout:
  """Names and format of one variant's files."""

  ratings: str
  movies: str
  separator: str
  movies_separator: str
  header: bool
  encoding: str


LAYOUTS = {
  "100k": Layout("u.data", "u.item", "\t", "|", False, "latin-1"),
  "1m": Layout("ratings.dat", "movies.dat", "::", "::", False, "latin-1"),
  "20m": Layout("ratings.csv", "movies.csv", ",", ",", True, "utf-8"),
}


@dataclasses.dataclass(frozen=True)
class MovieLens:
  """A MovieLens data set.

  Attributes:
    variant: '100k', '1m' or '20m'.
    path: the publisher's zip, or the folder that was in it; '' downloads.
  """

  variant: str = "1m"
  path: str = ""

  def __post_init__(self):
    if self.variant not in LAYOUTS:
      raise ValueError(
        f"MovieLens variant must be one of {', '.join(LAYOUTS)}, got"
        f" {self.variant!r}."
      )

  def read(self) -> schema.RawLog:
    """Reads ratings and movies from `path`."""
    if not self.path:
      raise ValueError(
        "MovieLens without a path is downloaded first: call"
        " fetch(directory).read(), as prepare() does, or give path= a"
        " GroupLens zip or folder."
      )
    ratings, movies = parse(self.variant, self.path)
    return schema.RawLog(events=ratings, items=movies, sources=self.checksums())

  def fetch(self, directory: str | os.PathLike) -> schema.Source:
    """The source to read: itself, or a download under `directory`/tfds.

    Raises:
      ValueError: the publisher cannot be reached; says how to give a path.
    """
    if self.path:
      return self
    # Imported here: it takes half a second, and most sources are paths.
    from genrec_jax.data.sources import movielens_tfds

    return movielens_tfds.fetch(self.variant, pathlib.Path(directory) / "tfds")

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the zip, or of the two files in a folder."""
    if not self.path:
      from genrec_jax.data.sources import movielens_tfds

      return movielens_tfds.published_checksums(self.variant)
    path = pathlib.Path(self.path)
    if not path.is_dir():
      return checksums.sha256([path])
    layout = LAYOUTS[self.variant]
    folder = _folder(path, layout)
    return checksums.sha256([folder / layout.ratings, folder / layout.movies])


def parse(
  variant: str, path: str | os.PathLike
) -> tuple[pl.DataFrame, pl.DataFrame]:
  """Reads a zip or folder.

  Returns:
    ratings in file order (user, item, value, timestamp) and movies (item,
    title, genres with '|' between them).

  Raises:
    ValueError: no such file, a file missing in it, or a damaged one.
  """
  layout = LAYOUTS[variant]
  path = pathlib.Path(path)
  if path.is_dir():
    folder = _folder(path, layout)
    files = [(folder / n).read_bytes() for n in (layout.ratings, layout.movies)]
  elif path.is_file():
    with checksums.open_zip(path) as archive:
      files = []
      for name in (layout.ratings, layout.movies):
        found = [
          n for n in archive.namelist() if pathlib.PurePosixPath(n).name == name
        ]
        if not found:
          raise ValueError(
            f"{path} holds no {name}, which MovieLens {variant} has; it holds"
            f" {', '.join(archive.namelist())}."
          )
        files.append(checksums.read_member(archive, found[0]))
  else:
    raise checksums.MissingSource(f"there is no file or folder {path}.")
  try:
    return _ratings(files[0], layout), _movies(files[1], layout)
  except (pl.exceptions.PolarsError, UnicodeDecodeError) as e:
    raise ValueError(
      f"{path} does not read as MovieLens {variant}: {e}. Is it another"
      " variant, or damaged?"
    ) from e


def _folder(path: pathlib.Path, layout: Layout) -> pathlib.Path:
  for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
    if (folder / layout.ratings).is_file():
      if (folder / layout.movies).is_file():
        return folder
  raise ValueError(
    f"{path} holds no {layout.ratings} and {layout.movies}; it holds"
    f" {', '.join(sorted(p.name for p in path.iterdir()))}."
  )


def _ratings(data: bytes, layout: Layout) -> pl.DataFrame:
  types = {
    "user": pl.Int32,
    "item": pl.Int32,
    "value": pl.Float32,
    "timestamp": pl.Int64,
  }
  return _table(data, layout.separator, layout, types)


def _movies(data: bytes, layout: Layout) -> pl.DataFrame:
  if layout.movies != "u.item":
    types = {"item": pl.Int32, "title": pl.String, "genres": pl.String}
    return _table(data, layout.movies_separator, layout, types)
  columns = ["item", "title", "date", "video date", "url", *_GENRES_100K]
  types = dict.fromkeys(columns, pl.String)
  table = _table(data, layout.movies_separator, layout, types)
  flags = [
    pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES_100K
  ]
  return table.select(
    pl.col("item").cast(pl.Int32),
    "title",
    pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"),
  )


def _table(
  data: bytes, separator: str, layout: Layout, types: dict[str, Any]
) -> pl.DataFrame:
  """A file as a table; quotes mean something only where there is a header."""
  if layout.encoding != "utf-8":
    data = data.decode(layout.encoding).encode()
  if separator == "::":
    # Polars takes one byte; a tab occurs in none of these files.
    data, separator = data.replace(b"::", b"\t"), "\t"
  return pl.read_csv(
    io.BytesIO(data),
    separator=separator,
    has_header=False,
    skip_lines=int(layout.header),
    schema=types,
    quote_char='"' if layout.header else None,
  )
