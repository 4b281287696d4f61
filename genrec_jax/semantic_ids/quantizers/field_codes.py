# SPDX-License-Identifier: Apache-2.0
"""Codes that begin with fields, such as category, brand and price range.

    c_1 .. c_F   the classes of the fields, read off the vector's one-hot blocks
    r            the rest of the vector, less the mean of each class in turn
    c_F+1 ..     residual k-means of r

The first codes are what the item table says, so items that share a prefix share
these facts, and a new item's are known before anything is fitted. Vectors are
those of content.FieldEncoder: blocks of level_sizes[0], level_sizes[1], ..
columns, and then a text's. Shapes: N vectors of width D, of which W are text,
M levels, F fields.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.kmeans import nearest, squared_distances
from genrec_jax.semantic_ids.quantizers.base import (
  Fitted,
  check_vectors,
  fitted,
)
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans


@dataclasses.dataclass(frozen=True)
class FieldCodes:
  """Options.

  Attributes:
    level_sizes: codes of each level: first the fields' classes.
    num_fields: F.
    iterations: rounds of k-means a level, at most.
  """

  level_sizes: tuple[int, ...] = (256, 256, 256)
  num_fields: int = 1
  iterations: int = 50

  def __post_init__(self):
    if not 0 < self.num_fields < len(self.level_sizes):
      raise ValueError(
        f"num_fields={self.num_fields} must be at least 1, and less than the"
        f" {len(self.level_sizes)} levels: some code the text."
      )

  def fit(
    self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int = 0
  ) -> "FittedFieldCodes":
    """Means of classes, and clusters of what they leave.

    Raises:
      ValueError: vectors without the fields' blocks, or as ResidualKMeans.
    """
    check_vectors(vectors_ND)
    sizes = tuple(self.level_sizes[: self.num_fields])
    check_blocks(vectors_ND, sizes)
    left_NW, books, start, weight = vectors_ND[:, sum(sizes) :], [], 0, 1.0
    for size in sizes:
      block_NC = vectors_ND[:, start : start + size]
      weight = float(block_NC.max(initial=0))
      code_N = block_NC.argmax(axis=1)
      count_C = np.bincount(code_N, minlength=size)
      mean_CW = np.zeros((size, left_NW.shape[1]))
      np.add.at(mean_CW, code_N, left_NW)
      mean_CW /= np.maximum(count_C, 1)[:, None]
      left_NW = left_NW - mean_CW[code_N].astype(np.float32)
      books.append(mean_CW.astype(np.float32))
      start += size
    rest = ResidualKMeans(
      self.level_sizes[self.num_fields :], iterations=self.iterations
    ).fit(left_NW, seed=seed)
    return FittedFieldCodes(
      width=vectors_ND.shape[1],
      level_sizes=tuple(self.level_sizes),
      num_fields=self.num_fields,
      weight=weight,
      codebooks=(*books, *rest.codebooks),
    )


def check_blocks(vectors_ND: np.ndarray, sizes: tuple[int, ...]) -> None:
  """Raises unless vectors begin with one-hot blocks of these sizes."""
  start = 0
  for size in sizes:
    block_NC = vectors_ND[:, start : start + size]
    start += size
    if block_NC.shape[1] < size or ((block_NC != 0).sum(axis=1) > 1).any():
      raise ValueError(
        f"vectors do not begin with one-hot blocks of {sizes} columns: make"
        " them with content.FieldEncoder, whose fields have as many classes as"
        " the first levels of FieldCodes."
      )
  if vectors_ND.shape[1] <= start:
    raise ValueError(f"vectors have {start} columns of fields and no text.")


@fitted("codebooks")
@dataclasses.dataclass(frozen=True, eq=False)
class FittedFieldCodes(Fitted):
  """Means of classes and clusters of residuals.

  Attributes:
    width: D.
    level_sizes: codes of each level.
    num_fields: levels that are fields.
    weight: of the blocks' ones.
    codebooks: per level (C, W).
  """

  width: int
  level_sizes: tuple[int, ...]
  num_fields: int
  weight: float
  codebooks: tuple[Any, ...]

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    return self._levels(vectors_ND)[0]

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    return squared_distances(self._levels(vectors_ND)[1], self.codebooks[-1])

  def _levels(self, vectors_ND):
    """Codes of all levels, and what the last level saw."""
    start, codes = 0, []
    for size in self.level_sizes[: self.num_fields]:
      block_NC = vectors_ND[:, start : start + size]
      codes.append(jnp.argmax(block_NC, axis=1).astype(jnp.int32))
      start += size
    left_NW = seen_NW = vectors_ND[:, start:]
    for level, book_CW in enumerate(self.codebooks):
      seen_NW = left_NW
      if level >= self.num_fields:
        codes.append(nearest(left_NW, book_CW))
      left_NW = left_NW - book_CW[codes[level]]
    return jnp.stack(codes, axis=1), seen_NW

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    blocks = [
      self.weight * (codes_NM[:, level, None] == jnp.arange(size)[None, :])
      for level, size in enumerate(self.level_sizes[: self.num_fields])
    ]
    total_NW = sum(
      book_CW[codes_NM[:, level]]
      for level, book_CW in enumerate(self.codebooks)
    )
    return jnp.concatenate([*blocks, total_NW], axis=1)
