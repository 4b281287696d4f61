# SPDX-License-Identifier: Apache-2.0
"""Checksums of source files, and whether an archive is whole.

A truncated .gz or .zip is told apart from a damaged table before anything is
parsed, so that the error names the file.
"""

from collections.abc import Iterable, Iterator
import gzip
import hashlib
import os
import pathlib
import zipfile
import zlib

from tqdm import tqdm

_CHUNK = 1 << 22


class MissingSource(ValueError):
  """A source file that is not where it was said to be."""


def sha256(paths: Iterable[str | os.PathLike]) -> dict[str, str]:
  """File name -> hexadecimal SHA-256; with its folder where names repeat.

  Raises:
    MissingSource: a file that is not there.
  """
  found = {}
  paths = [pathlib.Path(path) for path in paths]
  names = [path.name for path in paths]
  for path in paths:
    if not path.is_file():
      raise MissingSource(f"there is no file {path}.")
    digest = hashlib.sha256()
    with open(path, "rb") as file, _bar(path, "checksum") as bar:
      while chunk := file.read(_CHUNK):
        digest.update(chunk)
        bar.update(len(chunk))
    repeats = names.count(path.name) > 1
    name = f"{path.parent.name}/{path.name}" if repeats else path.name
    found[name] = digest.hexdigest()
  return found


def check_gzip(path: str | os.PathLike) -> None:
  """Raises a ValueError if a gzip file is cut off or damaged."""
  for _ in chunks(path):
    pass


def chunks(path: str | os.PathLike) -> Iterator[bytes]:
  """Yields the bytes of a file piece by piece, unpacked where it ends in .gz.

  Raises:
    ValueError: a gzip file that is cut off or damaged.
  """
  packed_as_gzip = pathlib.Path(path).suffix == ".gz"
  try:
    with open(path, "rb") as packed, _bar(path, "check") as bar:
      file = gzip.GzipFile(fileobj=packed) if packed_as_gzip else packed
      while chunk := file.read(_CHUNK):
        bar.update(packed.tell() - bar.n)
        yield chunk
  except (EOFError, gzip.BadGzipFile, zlib.error) as e:
    raise ValueError(
      f"{path} is truncated or damaged ({e}). Copy or download it again."
    ) from e


def open_zip(path: str | os.PathLike) -> zipfile.ZipFile:
  """Opens a zip file.

  Raises:
    ValueError: cut off or damaged.
  """
  try:
    return zipfile.ZipFile(path)
  except zipfile.BadZipFile as e:
    raise ValueError(
      f"{path} is truncated or no zip file ({e}). Copy or download it again."
    ) from e


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
  """Bytes of one file of a zip, whose checksum is verified.

  Raises:
    ValueError: damaged.
  """
  try:
    return archive.read(name)
  except (zipfile.BadZipFile, EOFError, zlib.error) as e:
    raise ValueError(
      f"{name} in {archive.filename} is truncated or damaged ({e}). Copy or"
      " download it again."
    ) from e


def _bar(path: str | os.PathLike, what: str) -> tqdm:
  path = pathlib.Path(path)
  return tqdm(
    total=path.stat().st_size,
    desc=f"{what} {path.name}",
    unit="B",
    unit_scale=True,
    leave=False,
    delay=2,
  )
