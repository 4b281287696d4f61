# SPDX-License-Identifier: Apache-2.0
"""MovieLens for TensorFlow Datasets, in array_record, without TensorFlow.

    builder = MovieLensHistories(config="1m-ratings", data_dir="WORKDIR/tfds")
    builder.download_and_prepare()
    builder.as_data_source("train")   # or tfds.data_source(name, data_dir=...)

Configs <variant>-ratings hold one example per user (user, and (L,) item,
value, timestamp, order = row in the file), users by first appearance;
<variant>-movies one per movie (item, title, genres). The zip comes from the
publisher and is checked against size and SHA-256, or is given by path. TFDS's
own movielens builder opens its files through TensorFlow, which we do without.
"""

from collections.abc import Iterator
import dataclasses
import errno
import os
from typing import Any

import numpy as np
import polars as pl
import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.checksums import UrlInfo
from tensorflow_datasets.core.download.download_manager import (
  NonMatchingChecksumError,
)
from tensorflow_datasets.core.download.util import DownloadError
from tqdm import tqdm

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.sources import movielens_files

_URL = "https://files.grouplens.org/datasets/movielens/ml-{}.zip"
# Size and SHA-256 of the publisher's files.
_URL_INFOS = {
  variant: UrlInfo(size, sha256, f"ml-{variant}.zip")
  for variant, size, sha256 in (
    (
      "100k",
      4_924_029,
      "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    ),
    (
      "1m",
      5_917_549,
      "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    ),
    (
      "20m",
      198_702_078,
      "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
    ),
  )
}


class MovieLensHistories(tfds.core.GeneratorBasedBuilder):
  """MovieLens with one example per user."""

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(
      name=f"{variant}-{kind}",
      description=f"MovieLens {variant}, {what}.",
    )
    for variant in movielens_files.FORMATS
    for kind, what in (
      ("ratings", "one example per user"),
      ("movies", "one example per movie"),
    )
  ]
  # What TFDS otherwise reads from a checksums.tsv beside the builder.
  url_infos = {_URL.format(v): info for v, info in _URL_INFOS.items()}

  def __init__(self, *, path: str | os.PathLike = "", **kwargs: Any):
    """`path`: a GroupLens zip or folder to read instead of downloading."""
    kwargs.setdefault("file_format", "array_record")
    super().__init__(**kwargs)
    self._path = path
    self._original_state["path"] = path

  @property
  def _parts(self) -> list[str]:
    """Variant and kind of the config."""
    return self.builder_config.name.split("-")

  def _info(self) -> tfds.core.DatasetInfo:
    if self._parts[1] == "ratings":
      features = {
        "user": np.int32,
        "item": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        "value": tfds.features.Tensor(shape=(None,), dtype=np.float32),
        "timestamp": tfds.features.Tensor(shape=(None,), dtype=np.int64),
        "order": tfds.features.Tensor(shape=(None,), dtype=np.int32),
      }
    else:
      features = {
        "item": np.int32,
        "title": tfds.features.Text(),
        "genres": tfds.features.Text(),
      }
    return tfds.core.DatasetInfo(
      builder=self,
      description="MovieLens ratings as histories; research use only.",
      features=tfds.features.FeaturesDict(features),
      homepage="https://grouplens.org/datasets/movielens/",
      # Users by first appearance in the file.
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    variant, kind = self._parts
    if self._path:
      path = self._path
      digests = checksums.sha256(movielens_files.sources_of(variant, path))
    else:
      path = _download(dl_manager, variant)
      digests = published_checksums(variant)
    self.info.metadata["checksums"] = digests
    ratings, movies = movielens_files.parse(variant, path)
    examples = _users(ratings) if kind == "ratings" else _movies(movies)
    return {"train": examples}

  def _generate_examples(self) -> None:
    raise NotImplementedError("the generators come from _split_generators")


def _users(ratings: pl.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
  numbered = ratings.with_columns(order=pl.int_range(pl.len(), dtype=pl.Int32))
  grouped = numbered.group_by("user", maintain_order=True)
  for number, (_, rows) in enumerate(grouped):
    example = {name: rows[name].to_numpy() for name in rows.columns[1:]}
    yield number, {"user": rows["user"][0], **example}


def _movies(movies: pl.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
  yield from enumerate(movies.fill_null("").iter_rows(named=True))


def _download(dl_manager: Any, variant: str) -> os.PathLike:
  url = _URL.format(variant)
  try:
    # TFDS tries for minutes; this says at once that there is no way there.
    requests.head(url, timeout=20).raise_for_status()
    return dl_manager.download(url)
  except NonMatchingChecksumError as e:
    raise ValueError(
      f"what {url} delivers is not the file with SHA-256"
      f" {_URL_INFOS[variant].checksum} ({e}). If you trust a copy, give its"
      f" place: MovieLens({variant!r}, path=...)."
    ) from e
  except (OSError, DownloadError) as e:
    if getattr(e, "errno", None) == errno.ENOSPC:
      raise
    raise ValueError(
      f"cannot download {url} ({type(e).__name__}: {e}). Get"
      f" ml-{variant}.zip on a machine that can reach it and give its place:"
      f" MovieLens({variant!r}, path='.../ml-{variant}.zip'), in a config"
      " config.data.path."
    ) from e


@dataclasses.dataclass(frozen=True)
class Prepared:
  """MovieLens as TFDS prepared it under a folder; a source."""

  variant: str
  directory: str

  def read(self) -> schema.RawLog:
    """Reads ratings, back in the order of the file, and movies."""
    columns = {"user": [], "item": [], "value": [], "timestamp": []}
    columns["order"] = []
    for example in tqdm(
      self._examples("ratings"), desc="read TFDS", unit=" users", delay=2
    ):
      length = len(example["item"])
      columns["user"].append(np.full(length, example["user"], np.int32))
      for name in ("item", "value", "timestamp", "order"):
        columns[name].append(example[name])
    events = pl.DataFrame(
      {name: np.concatenate(arrays) for name, arrays in columns.items()}
    ).sort("order")
    movies = pl.DataFrame(
      [
        {
          "item": int(example["item"]),
          "title": example["title"].decode(),
          "genres": example["genres"].decode(),
        }
        for example in self._examples("movies")
      ]
    )
    return schema.RawLog(
      events=events,
      items=movies,
      sources=dict(self._builder("ratings").info.metadata["checksums"]),
    )

  def _examples(self, kind: str) -> Any:
    return self._builder(kind).as_data_source("train")

  def _builder(self, kind: str) -> MovieLensHistories:
    return MovieLensHistories(
      config=f"{self.variant}-{kind}", data_dir=self.directory
    )


def fetch(
  variant: str, directory: str | os.PathLike, path: str | os.PathLike = ""
) -> Prepared:
  """Prepares a variant with TFDS, unless that was done.

  Args:
    variant: of movielens_files.FORMATS.
    directory: TFDS's data_dir.
    path: a GroupLens zip or folder; '' downloads.

  Raises:
    ValueError: a file that is not there, damaged or another; the publisher
      cannot be reached, or delivers something else.
  """
  if path:
    wanted = checksums.sha256(movielens_files.sources_of(variant, path))
  else:
    wanted = published_checksums(variant)
  for kind in ("ratings", "movies"):
    builder = MovieLensHistories(
      config=f"{variant}-{kind}", data_dir=directory, path=path
    )
    builder.download_and_prepare()
    found = dict(builder.info.metadata["checksums"])
    if found != wanted:
      raise ValueError(
        f"{builder.data_path} was prepared from {found} and not from"
        f" {path or 'the publisher'}'s file. Delete it, or use another"
        " --workdir."
      )
  return Prepared(variant, os.fspath(directory))


def published_checksums(variant: str) -> dict[str, str]:
  """File name -> sha256 of the publisher's zip."""
  info = _URL_INFOS[variant]
  return {info.filename: info.checksum}
