# SPDX-License-Identifier: Apache-2.0
"""manifest.json of a bundle: what it is, and a checksum of every other file.

It is written last, and has a checksum of itself (core/sealed.py).
"""

from collections.abc import Mapping
import os
import pathlib
from typing import Any

from genrec_jax.core import artifact, sealed
from genrec_jax.core.checksums import sha256

FORMAT = 1
CONFIG = "config.json"
PARAMETERS, ITEMS = "parameters.safetensors", "items.safetensors"
GOLDEN = "golden.safetensors"
MANIFEST = "manifest.json"
_KIND = "exported_run"
_MEND = "Copy it again, or export the run again."


def write_manifest(directory: pathlib.Path, values: Mapping[str, Any]) -> None:
  """Describes all files that lie in a folder by now.

  `version` is added, which names the contents of the whole.
  """
  files = sorted(
    path.relative_to(directory).as_posix()
    for path in directory.rglob("*")
    if path.is_file()
  )
  sums = [sha256([directory / name]) for name in files]
  version = artifact.content_hash(dict(values), files, sums)
  found = {"format": FORMAT, "version": version, **values}
  artifact.save_manifest(directory, _KIND, found, files)


def read_manifest(directory: str | os.PathLike) -> dict[str, Any]:
  """What a bundle says of itself, once every file of it was compared.

  Raises:
    ValueError: no bundle, one of another version, a damaged file, or one that
      is to be read and has no checksum (says which).
  """
  directory = pathlib.Path(directory)
  path = directory / MANIFEST
  if not path.is_file():
    raise ValueError(
      f"{directory} is no bundle: {MANIFEST} is missing. genrec export"
      " --workdir=... --output=... makes one."
    )
  values = sealed.read_json(path, _MEND)
  if "checksum" not in values:
    raise ValueError(f"{path} is damaged: it has no checksum. {_MEND}")
  values = sealed.unseal(values, path, _MEND)
  if values.get("kind") == _KIND and values.get("format") != FORMAT:
    raise ValueError(
      f"{path} is of format {values.get('format')!r}, and this version of"
      f" genrec_jax reads {FORMAT}: export the run again, or open it with the"
      f" version that wrote it ({values.get('genrec_jax')})."
    )
  values = artifact.load_manifest(directory, _KIND)
  programs = [
    n for files in values["programs"].values() for n in files.values()
  ]
  for name in (CONFIG, PARAMETERS, GOLDEN, *programs):
    if name not in values["files"]:
      raise ValueError(f"{path} has no checksum of {name}. {_MEND}")
  return values
