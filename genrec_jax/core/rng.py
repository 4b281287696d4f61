# SPDX-License-Identifier: Apache-2.0
"""Random streams: one typed key per run, folded by name and step.

    key(seed) -> fold_in(., stream name) -> fold_in(., step)

Nothing random is kept in the training state: a resumed run draws what the
uninterrupted one would have drawn, because the step is all it depends on.
"""

import zlib

import jax
from jaxtyping import Array, Int, Key


def stream(
  key: Key[Array, ""], name: str, step: Int[Array, ""] | int = 0
) -> Key[Array, ""]:
  """The key of a named stream at a step."""
  # crc32 and not hash(): Python salts the latter in every process.
  named = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
  return jax.random.fold_in(named, step)
