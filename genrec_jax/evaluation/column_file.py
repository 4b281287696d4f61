# SPDX-License-Identifier: Apache-2.0
"""What an evaluation keeps of every request, as one .npz of plain arrays.

    fingerprint, and other facts         of the whole file
    PART/COLUMN, PART/KIND/NAME          one entry a request of that part

evaluation/ranks.py and scores.py say which facts and columns.
"""

from collections.abc import Iterable, Mapping
import os
import pathlib

from jaxtyping import Shaped
import numpy as np

from genrec_jax.core import artifact, atomic

Columns = Mapping[str, Shaped[np.ndarray, "..."]]


def save(
  path: str | os.PathLike, facts: Mapping[str, np.ndarray], columns: Columns
) -> None:
  """Writes the file as a whole or not at all; columns have a "/" in the name.

  Facts have none.
  """
  # By handle: savez adds .npz to the name of a path.
  with atomic.replacing(path) as temporary, temporary.open("wb") as file:
    np.savez_compressed(file, **facts, **columns)


def load(
  path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Facts and columns of a file; ValueError where none is, or a damaged one."""
  path = pathlib.Path(path)
  if not path.is_file():
    raise ValueError(
      f"there is no {path}: run genrec evaluate --workdir={path.parent}"
    )
  try:
    arrays = artifact.load_arrays(path)
  except ValueError as error:
    raise ValueError(
      f"{error} Run genrec evaluate --workdir={path.parent} again."
    ) from error
  facts = {n: x for n, x in arrays.items() if "/" not in n}
  return facts, {n: x for n, x in arrays.items() if "/" in n}


def parts(columns: Iterable[str]) -> tuple[str, ...]:
  """The parts that columns are of, in their order."""
  return tuple(dict.fromkeys(name.split("/")[0] for name in columns))


def names(columns: Iterable[str], part: str, kind: str) -> tuple[str, ...]:
  """NAME of every PART/KIND/NAME."""
  prefix = f"{part}/{kind}/"
  return tuple(n.removeprefix(prefix) for n in columns if n.startswith(prefix))
