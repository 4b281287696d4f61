# SPDX-License-Identifier: Apache-2.0
"""checksums.json of a checkpoint: size and CRC-32 of each of its files.

The metadata that Orbax keeps say that there are checksums (SEALED): without the
file such a checkpoint is damaged. One of before there were any is read with a
notice.
"""

from collections.abc import Collection, Mapping
import functools
import json
import pathlib
import sys

import jax

from genrec_jax.core import atomic, crc, sealed

SUMS = "checksums.json"
# What a checkpoint's own metadata hold, and where.
SEALED = {"checksums": SUMS}
_METADATA = "_CHECKPOINT_METADATA"


class DamagedCheckpoint(ValueError):
  """A checkpoint that cannot be read, or is not what was written."""


def seal(folder: pathlib.Path) -> None:
  """Writes the checksums of a checkpoint's files."""
  names = sorted(
    path.relative_to(folder).as_posix()
    for path in folder.rglob("*")
    if path.is_file()
  )
  sums = crc.file_sums(folder, names, mapped=True)
  text = json.dumps(sealed.seal({"files": sums}))
  atomic.write_text(folder / SUMS, text + "\n")


def is_sealed(folder: pathlib.Path) -> bool:
  """Whether a checkpoint has checksums."""
  return (folder / SUMS).is_file()


def is_old(folder: pathlib.Path) -> bool:
  """Whether a checkpoint is of before there were checksums."""
  try:
    return not read(folder)
  except DamagedCheckpoint:
    return False


def read(folder: pathlib.Path) -> dict[str, str]:
  """Checksums by file; empty for a checkpoint of before there were any.

  Raises:
    DamagedCheckpoint: they are missing, or not what was written.
  """
  if not is_sealed(folder):
    _check_without(folder)
    return {}
  try:
    return sealed.read_sealed(folder / SUMS, "")["files"]
  except (ValueError, KeyError) as error:
    raise DamagedCheckpoint(
      f"the checkpoint {folder} is damaged: {SUMS} cannot be read."
    ) from error


def compare(folder: pathlib.Path, sums: Mapping[str, str]) -> None:
  """Reads files of a checkpoint.

  Raises:
    DamagedCheckpoint: one is not what was written.
  """
  wrong = crc.changed(folder, sums)
  if wrong:
    raise DamagedCheckpoint(
      f"the checkpoint {folder} is damaged: {crc.said(folder, wrong)}."
    )


def compare_but(
  folder: pathlib.Path, others: Collection[str], *, notice: bool = False
) -> None:
  """Compares a checkpoint's files but for those of parts that nobody needs.

  Args:
    folder: of the checkpoint.
    others: names of the parts.
    notice: say on stderr where a file of these is missing or cut.

  Raises:
    DamagedCheckpoint: one that is needed is not what was written.
  """
  needed, spared = {}, {}
  for name, value in read(folder).items():
    (spared if name.split("/")[0] in others else needed)[name] = value
  compare(folder, needed)
  wrong = crc.changed(folder, spared, size_only=True)
  if wrong and notice:
    print(
      f"the checkpoint {folder} is damaged: {crc.said(folder, wrong)}. It is"
      " not needed here, and what is needed is whole; but no training can go on"
      " from it.",
      file=sys.stderr,
    )


def _check_without(folder: pathlib.Path) -> None:
  """Raises where a checkpoint without checksums must have had some."""
  try:
    metadata = json.loads((folder / _METADATA).read_bytes())
  except (OSError, ValueError):
    metadata = None
  if not isinstance(metadata, dict):
    raise DamagedCheckpoint(
      f"the checkpoint {folder} is damaged: {SUMS} is missing, and {_METADATA}"
      " cannot be read."
    )
  if metadata.get("custom_metadata") == SEALED:
    raise DamagedCheckpoint(
      f"the checkpoint {folder} is damaged: {SUMS} is missing."
    )
  _say_unchecked(folder)


@functools.cache
def _say_unchecked(folder: pathlib.Path) -> None:
  """Says once that a checkpoint cannot be compared with anything."""
  if jax.process_index() == 0:
    print(
      f"the checkpoint {folder} was written before there were checksums: it is"
      " taken as it is, unchecked.",
      file=sys.stderr,
    )
