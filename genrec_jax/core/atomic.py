# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all.

The content goes to a temporary name of its own beside the final one and is
renamed, so a reader never sees half of it and two writers never share a name.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil
import tempfile
import uuid

from absl import logging


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a temporary path; what is written there becomes `path`.

  After an error the temporary file is removed and `path` is as before.
  """
  path = pathlib.Path(path)
  handle, name = tempfile.mkstemp(
    prefix=f".{path.name}.", suffix=".tmp", dir=path.parent
  )
  os.close(handle)
  temporary = pathlib.Path(name)
  try:
    yield temporary
    # mkstemp makes files for the owner alone; these are for everybody.
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
  """Writes a UTF-8 text file."""
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def new_folder(directory: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a path; the folder made there becomes `directory`.

  After an error it is removed. One that a killed process left is reported.

  Raises:
    OSError: `directory` is there by then, or the disk is full.
  """
  directory = pathlib.Path(directory)
  directory.parent.mkdir(parents=True, exist_ok=True)
  for path in sorted(directory.parent.glob(f"{directory.name}.tmp-*")):
    logging.warning(
      "%s is left of a run that was interrupted, or belongs to one that still"
      " runs; it is never read, and can be deleted if nothing runs.",
      path,
    )
  # Hosts that share a disk may share process ids.
  partial = directory.with_name(
    f"{directory.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}"
  )
  try:
    yield partial
    os.rename(partial, directory)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
