# SPDX-License-Identifier: Apache-2.0
"""Functions as StableHLO: traced once, run by any process that has jax.

    data = exported(function, 16, ("cpu", "cuda", "tpu"))     bytes of a file
    programs = Programs.load("bundle", manifest, None)
    programs("query", parameters, batch)

A file is what jax.export serializes: the program for all its platforms, its
shapes, and how its arguments nest. jax reads what versions before it wrote for
six months at least. Programs are traced where they are exported, so that a
kernel of one platform alone (a model that is exported on a TPU may choose one)
is an error for the others: export on a CPU.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import pathlib
from typing import Any

import jax
from jax import export

from genrec_jax.serving.export.functions import Function
from genrec_jax.serving.export.options import ANY


def check_serializes() -> None:
  """Raises an ImportError where jax lacks what it writes programs with."""
  try:
    import flatbuffers  # noqa: F401
  except ImportError as error:
    raise ImportError(
      "jax reads and writes programs with the package flatbuffers: pip install"
      " 'genrec_jax[export]'"
    ) from error


def file_of(name: str, size: str) -> str:
  """Where the program of a function lies in a bundle."""
  return f"programs/{name}.{size}.jax_export"


def exported(
  function: Function, rows: int | None, platforms: tuple[str, ...]
) -> bytes:
  """A function as a program.

  Args:
    function: what to trace.
    rows: number of requests; None = any.
    platforms: that it is for, see PLATFORMS.

  Raises:
    ValueError: it cannot be: says for which platform, and why.
  """
  # Without constraints a symbol stands for any number from 1 on.
  count = export.symbolic_shape("requests")[0] if rows is None else rows
  try:
    return _serialized(function, count, platforms)
  except Exception as error:  # Each part of jax raises its own.
    if rows is None and not _fails(function, 2, platforms):
      where = "for any number of requests"
      fix = "leave that out (--noany_size) and name the numbers (--batch_sizes)"
    else:
      wrong = [p for p in platforms if _fails(function, count, (p,))]
      where = f"for {', '.join(wrong or platforms)}"
      fix = "leave these out (--platforms)"
    reason = str(error).strip().splitlines() or [""]
    raise ValueError(
      f"{function.name!r} of this model cannot be exported {where}"
      f" ({type(error).__name__}: {reason[0]}): {fix}."
    ) from error


def _serialized(function, count, platforms) -> bytes:
  traced = export.export(jax.jit(function.call), platforms=platforms)
  with _without_folders():
    return bytes(traced(*function.shapes(count)).serialize())


@contextlib.contextmanager
def _without_folders() -> Iterator[None]:
  """While it lasts programs name source files without their folders.

  Or they would tell where this library lies, and differ where it lies
  elsewhere.
  """
  option = "jax_hlo_source_file_canonicalization_regex"
  before = jax.config.values[option]
  jax.config.update(option, r".*[/\\]")
  try:
    yield
  finally:
    jax.config.update(option, before)


def _fails(function, count, platforms) -> bool:
  try:
    _serialized(function, count, platforms)
  except Exception:  # Asked for nothing but whether there is one.
    return True
  return False


@dataclasses.dataclass(frozen=True)
class Programs:
  """The programs of a bundle, for one number of requests.

  Attributes:
    functions: by name.
    rows: requests at a time; None = any.
  """

  functions: Mapping[str, Callable[..., Any]]
  rows: int | None

  @classmethod
  def load(
    cls,
    directory: pathlib.Path,
    manifest: Mapping[str, Any],
    rows: int | None,
  ) -> "Programs":
    """Reads programs; they compile when they are first called.

    Raises:
      ValueError: none for this platform or this number of requests, or of a
        version that this jax does not read.
      ImportError: flatbuffers is not installed.
    """
    check_serializes()
    check_platform(directory, manifest["platforms"])
    size = ANY if rows is None else str(rows)
    if size not in manifest["sizes"]:
      raise ValueError(
        f"{directory} has no programs for {size} requests; it has them for"
        f" {', '.join(manifest['sizes'])}."
      )
    functions = {
      name: _read(directory / files[size], manifest["jax"])
      for name, files in manifest["programs"].items()
    }
    return cls(functions, rows)

  def __call__(self, name: str, *arguments: Any) -> Any:
    """What a function answers."""
    return self.functions[name](*arguments)


def check_platform(directory: pathlib.Path, platforms: list[str]) -> None:
  """Raises a ValueError where a bundle is of others than this process's."""
  here = export.default_export_platform()
  if here not in platforms:
    raise ValueError(
      f"{directory} has programs for {', '.join(platforms)}, and this process"
      f" runs on {here}: export the run again, with --platforms={here} among"
      " them."
    )


def _read(path: pathlib.Path, version: str) -> Callable[..., Any]:
  try:
    program = export.deserialize(bytearray(path.read_bytes()))
  except Exception as error:  # Whatever a format of another version does.
    raise ValueError(
      f"{path} was written by jax {version} and cannot be read by jax"
      f" {jax.__version__} ({type(error).__name__}: {str(error)[:80]}): use"
      " that version, or export the run again."
    ) from error
  return jax.jit(program.call)
