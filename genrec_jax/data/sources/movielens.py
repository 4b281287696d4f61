# SPDX-License-Identifier: Apache-2.0
"""MovieLens 100k, 1m and 20m as GroupLens publishes them.

    MovieLens("1m", path="ml-1m.zip")    # the zip, or the folder inside it
    MovieLens("1m")                      # prepare() downloads it with TFDS

Every rating is an event, whatever its value; value = the rating. Ratings keep
their order in the file, which breaks ties in time. Titles and genres become
the item table. Both ways are one: prepare() has TFDS prepare the set under
WORKDIR/tfds (the builder in movielens_tfds.py, which parses by
movielens_files.py), from the file that is given or downloaded, and reads that.

Source: F. M. Harper and J. A. Konstan, The MovieLens Datasets, 2015;
https://grouplens.org/datasets/movielens/ (research use, no redistribution).
"""

import dataclasses
import os
import pathlib

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.sources.movielens_files import FORMATS, sources_of


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
    if self.variant not in FORMATS:
      raise ValueError(
        f"MovieLens variant must be one of {', '.join(FORMATS)}, got"
        f" {self.variant!r}."
      )

  def read(self) -> schema.RawLog:
    """Never: TFDS prepares the set first."""
    raise ValueError(
      "MovieLens is prepared by TFDS first: call fetch(directory).read(), as"
      " prepare() does."
    )

  def fetch(self, directory: str | os.PathLike) -> schema.Source:
    """The source to read: what TFDS prepared under `directory`/tfds.

    Raises:
      ValueError: a file that is not there, damaged or another; or the publisher
        cannot be reached (says how to give a path).
    """
    # Imported here: it takes half a second.
    from genrec_jax.data.sources import movielens_tfds

    place = self.fetched(directory)
    return movielens_tfds.fetch(self.variant, place, self.path)

  def fetched(self, directory: str | os.PathLike) -> pathlib.Path:
    """TFDS's folder."""
    return pathlib.Path(directory) / "tfds"

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the zip, or of the two files in a folder."""
    if not self.path:
      from genrec_jax.data.sources import movielens_tfds

      return movielens_tfds.published_checksums(self.variant)
    return checksums.sha256(sources_of(self.variant, self.path))
