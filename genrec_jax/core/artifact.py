# SPDX-License-Identifier: Apache-2.0
"""Folders that stages hand to each other: a manifest, arrays, checksums.

    with new_folder("WORKDIR/vectors") as folder:
      save_array(folder / "vectors.npy", x)
      save_manifest(folder, "item_vectors", {...}, files=["vectors.npy"])
    manifest = load_manifest("WORKDIR/vectors", "item_vectors")

A folder is written under another name and renamed when it is whole. The
manifest is JSON with `kind`, `schema_version` and the SHA-256 of every file;
arrays are .npy and .npz, never pickled. `content_hash` names contents: equal
values have equal hashes on every machine.
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from jaxtyping import Shaped
import numpy as np

from genrec_jax.core import atomic, checksums, sealed
from genrec_jax.core.names import public_name

SCHEMA_VERSION = 1
_MANIFEST = "manifest.json"
# Trained models may read it, and what is made anew may mean something else.
_MEND = (
  "Restore the folder from a copy, or make the artifact anew in another one."
)


def content_hash(*parts: Any) -> str:
  """16 hexadecimal digits that name JSON values and arrays."""
  digest = hashlib.sha256()
  for part in parts:
    if isinstance(part, np.ndarray):
      array = np.ascontiguousarray(part)
      little = array.astype(array.dtype.newbyteorder("<"), copy=False)
      digest.update(f"{array.dtype.name} {array.shape} ".encode())
      digest.update(little.tobytes())
    else:
      text = json.dumps(part, sort_keys=True, ensure_ascii=False)
      digest.update(text.encode() + b"\n")
  return digest.hexdigest()[:16]


def describe(options: Any) -> dict[str, Any] | None:
  """An options object as a config node: its name and its fields.

  Raises:
    ValueError: it is no dataclass.
  """
  if options is None:
    return None
  cls = type(options)
  if not dataclasses.is_dataclass(options):
    raise ValueError(f"{cls.__name__} must be a dataclass of plain options.")
  node = {
    field.name: getattr(options, field.name)
    for field in dataclasses.fields(options)
    if field.init
  }
  # As it is read back: JSON makes lists of tuples.
  return json.loads(json.dumps({"name": public_name(cls), **node}))


def check_asked(
  directory: pathlib.Path,
  manifest: Mapping[str, Any],
  asked: Mapping[str, Any],
  holds: str,
  section: str,
) -> None:
  """Raises a ValueError where an artifact is not what would be made now.

  Args:
    directory: of the artifact.
    manifest: what it says of itself.
    asked: what it should say, by key.
    holds: what the folder has otherwise, in words.
    section: of the config, that says where the artifact lies.
  """
  lines = [
    f"  {key}: {manifest[key]!r} there, {value!r} wanted"
    for key, value in asked.items()
    if manifest[key] != value
  ]
  if lines:
    raise ValueError(
      f"{directory} holds {holds}:\n"
      + "\n".join(lines)
      + f"\nSet --config.{section}.directory or --workdir to another folder."
    )


@contextlib.contextmanager
def new_folder(directory: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Yields a folder that becomes `directory` unless an error is raised.

  Raises:
    ValueError: `directory` is there already.
  """
  if pathlib.Path(directory).exists():
    raise ValueError(f"{directory} exists: name another folder.")
  with atomic.new_folder(directory) as partial:
    partial.mkdir()
    yield partial


def save_array(
  path: str | os.PathLike, array: Shaped[np.ndarray, "..."]
) -> None:
  """Writes a .npy file."""
  with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
    np.save(file, array, allow_pickle=False)


def load_array(path: str | os.PathLike) -> Shaped[np.ndarray, "..."]:
  """Reads a .npy file.

  Raises:
    ValueError: missing or damaged.
  """
  try:
    return np.load(path, allow_pickle=False)
  except (OSError, ValueError, EOFError) as e:
    raise ValueError(f"{path} is missing or damaged ({e}).") from e


def save_arrays(
  path: str | os.PathLike, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes a .npz file."""
  with atomic.replacing(path) as temporary, open(temporary, "wb") as file:
    np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads a .npz file.

  Raises:
    ValueError: missing or damaged.
  """
  try:
    # NumPy leaves a damaged file open where it opened it itself.
    with open(path, "rb") as opened:
      with np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
  except Exception as e:  # zipfile, zlib and NumPy each raise their own.
    raise ValueError(f"{path} is missing or damaged ({e}).") from e


def save_manifest(
  directory: str | os.PathLike,
  kind: str,
  values: Mapping[str, Any],
  files: Iterable[str],
) -> None:
  """Writes manifest.json with checksums of `files`, names in the folder."""
  directory = pathlib.Path(directory)
  written = {
    "kind": kind,
    "schema_version": SCHEMA_VERSION,
    **values,
    "files": {
      name: next(iter(checksums.sha256([directory / name]).values()))
      for name in sorted(files)
    },
  }
  text = json.dumps(sealed.seal(written), indent=2, ensure_ascii=False)
  atomic.write_text(directory / _MANIFEST, text + "\n")


def load_manifest(directory: str | os.PathLike, kind: str) -> dict[str, Any]:
  """Reads manifest.json and checks every file it names.

  Raises:
    ValueError: no manifest, of another kind or version, or a damaged file.
  """
  directory = pathlib.Path(directory)
  path = directory / _MANIFEST
  if not path.is_file():
    raise ValueError(
      f"{directory} holds no {kind}: {_MANIFEST} is missing. Run"
      " genrec tokenize with this --config and --workdir."
    )
  values = sealed.read_json(path, _MEND)
  try:
    found = values["kind"], values["schema_version"]
    files = dict(values["files"])
  except (KeyError, TypeError) as e:
    raise ValueError(f"{path} is damaged ({e!r}). {_MEND}") from e
  if found != (kind, SCHEMA_VERSION):
    raise ValueError(
      f"{path} describes {found[0]!r} of schema version {found[1]!r}; wanted"
      f" {kind!r}, {SCHEMA_VERSION}. {_MEND}"
    )
  values = sealed.unseal(values, path, _MEND)
  for name, wanted in files.items():
    file = directory / name
    if not file.is_file():
      raise ValueError(f"{file} is missing. {_MEND}")
    if checksums.sha256([file])[file.name] != wanted:
      raise ValueError(
        f"{file} is not what the manifest describes: it is truncated or was"
        f" changed. {_MEND}"
      )
  return values
