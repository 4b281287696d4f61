# SPDX-License-Identifier: Apache-2.0
"""Size and CRC-32 of files: that what is read is what was written.

    sums = file_sums(folder, names)          {"a/b.bin": "1048576 5b0c1f0e"}
    changed(folder, sums)                    {"a/b.bin": "is missing"}

A sum is the bytes of a file and the CRC-32 of the CRC-32s of its pieces of 16
MiB, little endian; a file of one piece is no exception. Pieces are read by
several threads: zlib works at 2 to 3 GB/s on one core and leaves the
interpreter to others. A CRC finds every flipped bit and every burst of up to 32
bits; it is no protection against somebody who means to deceive.
"""

from collections.abc import Iterable, Mapping
from concurrent import futures
import mmap
import os
import pathlib
import zlib

_PIECE = 1 << 24
_BUFFER = 1 << 18
_THREADS = 8


def file_sums(
  folder: str | os.PathLike, names: Iterable[str], *, mapped: bool = False
) -> dict[str, str]:
  """Name -> sum of files of a folder.

  Args:
    folder: where they lie.
    names: below it.
    mapped: read them where the system holds them, in half of the time. For
      files that were written a moment ago and that nobody cuts: a read that
      fails ends the process then.

  Raises:
    OSError: one cannot be read.
  """
  folder = pathlib.Path(folder)
  sizes = {name: os.stat(folder / name).st_size for name in names}
  pieces = [
    (folder / name, start)
    for name, size in sizes.items()
    for start in range(0, size, _PIECE)
  ]
  read = _mapped_piece if mapped else _piece
  threads = min(_THREADS, os.cpu_count() or 1, len(pieces))
  if threads > 1:
    with futures.ThreadPoolExecutor(threads) as pool:
      found = iter(list(pool.map(read, pieces)))
  else:
    found = map(read, pieces)
  sums = {}
  for name, size in sizes.items():
    crcs = b"".join(next(found) for _ in range(0, size, _PIECE))
    sums[name] = f"{size} {zlib.crc32(crcs):08x}"
  return sums


def changed(
  folder: str | os.PathLike, sums: Mapping[str, str], *, size_only: bool = False
) -> dict[str, str]:
  """Name -> what is wrong with a file, of those that are not as summed.

  Args:
    folder: where they lie.
    sums: what file_sums said of them.
    size_only: look at their sizes alone, and read none.
  """
  folder = pathlib.Path(folder)
  wrong, whole = {}, []
  for name, wanted in sums.items():
    try:
      size = os.stat(folder / name).st_size
    except OSError:
      wrong[name] = "is missing"
      continue
    expected = int(wanted.split()[0])
    if size == expected:
      whole.append(name)
    else:
      kind = "is truncated" if size < expected else "was changed"
      wrong[name] = f"{kind} ({size} of {expected} bytes)"
  if size_only:
    return wrong
  try:
    found = file_sums(folder, whole)
  except OSError as error:
    name = pathlib.Path(error.filename).relative_to(folder)
    return {**wrong, str(name): f"cannot be read ({error.strerror})"}
  for name in whole:
    if found[name] != sums[name]:
      wrong[name] = "is not what was written (another checksum)"
  return wrong


def said(folder: str | os.PathLike, wrong: Mapping[str, str]) -> str:
  """What `changed` found, as a line that names the first file."""
  name, what = next(iter(wrong.items()))
  more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
  return f"{pathlib.Path(folder) / name} {what}{more}"


def _piece(piece: tuple[pathlib.Path, int]) -> bytes:
  """CRC-32 of the bytes from a place on."""
  path, start = piece
  try:
    crc, left = 0, _PIECE
    # A buffer that stays in the cache.
    buffer = memoryview(bytearray(min(_BUFFER, _PIECE)))
    with open(path, "rb", buffering=0) as file:
      file.seek(start)
      while left and (count := file.readinto(buffer[:left])):
        crc, left = zlib.crc32(buffer[:count], crc), left - count
    return crc.to_bytes(4, "little")
  except OSError as error:
    # That of a read names no file.
    raise OSError(error.errno, error.strerror, str(path)) from error


def _mapped_piece(piece: tuple[pathlib.Path, int]) -> bytes:
  """The same, without a copy of the bytes."""
  path, start = piece
  with open(path, "rb", buffering=0) as file:
    size = min(_PIECE, os.fstat(file.fileno()).st_size - start)
    access = mmap.ACCESS_READ
    with mmap.mmap(file.fileno(), size, access=access, offset=start) as data:
      return zlib.crc32(data).to_bytes(4, "little")
