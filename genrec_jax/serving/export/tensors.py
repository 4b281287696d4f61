# SPDX-License-Identifier: Apache-2.0
"""Named arrays in a .safetensors file, and trees as named arrays.

Eight bytes, a JSON header, the arrays end to end: who has neither this library
nor safetensors reads such a file in ten lines (docs/serving.md). Nothing in it
is ever executed.
"""

from collections.abc import Mapping
import os
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file


def save(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
  """Writes arrays by name."""
  host = {
    name: np.asarray(jax.device_get(array), order="C")
    for name, array in sorted(arrays.items())
  }
  save_file(host, path)


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads arrays by name.

  Raises:
    ValueError: missing or damaged.
  """
  try:
    return load_file(path)
  except (safetensors.SafetensorError, OSError) as error:
    raise ValueError(f"{path} is missing or damaged ({error}).") from error


def below(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
  """Those of names PREFIX/NAME, by NAME."""
  start = f"{prefix}/"
  return {
    name.removeprefix(start): array
    for name, array in arrays.items()
    if name.startswith(start)
  }


def under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
  """The same arrays by PREFIX/NAME."""
  return {f"{prefix}/{name}": array for name, array in arrays.items()}


def named(tree: Any) -> dict[str, Any]:
  """The leaves of a tree by their paths, such as "trie/code/0"."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in leaves
  }
