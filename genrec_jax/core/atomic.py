# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all.

The content goes to a temporary name of its own in the same folder and is
renamed, so a reader never sees half of it and two writers never share a name.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import tempfile


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
