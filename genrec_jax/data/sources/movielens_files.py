# SPDX-License-Identifier: Apache-2.0
"""The files of MovieLens, as GroupLens packs them: found and parsed by Polars.

`parse` gives ratings in file order and movies; the TFDS builder
(movielens_tfds.py) reads by it.
"""

import dataclasses
import io
import os
import pathlib
from typing import Any

import polars as pl

from genrec_jax.core import checksums

_GENRES_100K = (
  "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary"
  "|Drama|Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller"
  "|War|Western"
).split("|")


@dataclasses.dataclass(frozen=True)
class FileFormat:
  """Names and format of one variant's files."""

  ratings: str
  movies: str
  separator: str
  movies_separator: str
  header: bool
  encoding: str


FORMATS = {
  "100k": FileFormat("u.data", "u.item", "\t", "|", False, "latin-1"),
  "1m": FileFormat("ratings.dat", "movies.dat", "::", "::", False, "latin-1"),
  "20m": FileFormat("ratings.csv", "movies.csv", ",", ",", True, "utf-8"),
}


def sources_of(variant: str, path: str | os.PathLike) -> list[pathlib.Path]:
  """The zip, or the two files in a folder: what checksums are of."""
  path = pathlib.Path(path)
  if not path.is_dir():
    return [path]
  format_ = FORMATS[variant]
  folder = _folder(path, format_)
  return [folder / format_.ratings, folder / format_.movies]


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
  format_ = FORMATS[variant]
  path = pathlib.Path(path)
  if path.is_dir():
    folder = _folder(path, format_)
    files = [
      (folder / n).read_bytes() for n in (format_.ratings, format_.movies)
    ]
  elif path.is_file():
    with checksums.open_zip(path) as archive:
      files = []
      for name in (format_.ratings, format_.movies):
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
    return _ratings(files[0], format_), _movies(files[1], format_)
  except (pl.exceptions.PolarsError, UnicodeDecodeError) as e:
    raise ValueError(
      f"{path} does not read as MovieLens {variant}: {e}. Is it another"
      " variant, or damaged?"
    ) from e


def _folder(path: pathlib.Path, format_: FileFormat) -> pathlib.Path:
  for folder in (path, *sorted(p for p in path.iterdir() if p.is_dir())):
    if (folder / format_.ratings).is_file():
      if (folder / format_.movies).is_file():
        return folder
  raise ValueError(
    f"{path} holds no {format_.ratings} and {format_.movies}; it holds"
    f" {', '.join(sorted(p.name for p in path.iterdir()))}."
  )


def _ratings(data: bytes, format_: FileFormat) -> pl.DataFrame:
  types = {
    "user": pl.Int32,
    "item": pl.Int32,
    "value": pl.Float32,
    "timestamp": pl.Int64,
  }
  return _table(data, format_.separator, format_, types)


def _movies(data: bytes, format_: FileFormat) -> pl.DataFrame:
  if format_.movies != "u.item":
    types = {"item": pl.Int32, "title": pl.String, "genres": pl.String}
    return _table(data, format_.movies_separator, format_, types)
  columns = ["item", "title", "date", "video date", "url", *_GENRES_100K]
  types = dict.fromkeys(columns, pl.String)
  table = _table(data, format_.movies_separator, format_, types)
  flags = [
    pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES_100K
  ]
  return table.select(
    pl.col("item").cast(pl.Int32),
    "title",
    pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"),
  )


def _table(
  data: bytes, separator: str, format_: FileFormat, types: dict[str, Any]
) -> pl.DataFrame:
  """A file as a table; quotes mean something only where there is a header."""
  if format_.encoding != "utf-8":
    data = data.decode(format_.encoding).encode()
  if separator == "::":
    # Polars takes one byte; a tab occurs in none of these files.
    data, separator = data.replace(b"::", b"\t"), "\t"
  return pl.read_csv(
    io.BytesIO(data),
    separator=separator,
    has_header=False,
    skip_lines=int(format_.header),
    schema=types,
    quote_char='"' if format_.header else None,
  )
