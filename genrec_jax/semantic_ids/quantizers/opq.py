# SPDX-License-Identifier: Apache-2.0
"""Optimised product quantisation: a rotation, then one k-means per part.

    y = R (x - mean),  y = (y_1, ..., y_M);   c_m = nearest code of y_m
    decode(c) = mean + R^T (e^1_{c_1}, ..., e^M_{c_M})

The rotation starts at the principal axes, dealt out so that the parts' variance
products are alike, and alternates with the codes: with them fixed, the best R
is a Procrustes problem (Ge et al., Optimized Product Quantization, CVPR 2013,
sections 3.1 and 3.2). Levels are parallel: none refines another, unlike the
residual codes of rq_kmeans.py.
Shapes: N vectors of width D, M levels, C codes, P = D / M.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.kmeans import code_sums, kmeans, nearest, squared_distances
from genrec_jax.semantic_ids.quantizers.base import (
  Fitted,
  check_sizes,
  check_vectors,
  fitted,
)


@dataclasses.dataclass(frozen=True)
class ProductQuantization:
  """Options of optimised product quantisation.

  Attributes:
    level_sizes: codes of each part.
    rotations: rounds that improve the rotation; 0 keeps the principal axes.
    iterations: rounds of k-means at the start, at most.
    sample: vectors that each k-means start is drawn from, at most.
  """

  level_sizes: tuple[int, ...] = (256, 256, 256, 256)
  rotations: int = 20
  iterations: int = 25
  sample: int = 65_536

  def fit(
    self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int = 0
  ) -> "ProductCodes":
    """Learns rotation and codes.

    Raises:
      ValueError: a width that the parts do not divide, a level of more codes
        than there are vectors, or vectors that are not finite.
    """
    check_vectors(vectors_ND)
    check_sizes(self.level_sizes, len(vectors_ND), "ProductQuantization")
    width, levels = vectors_ND.shape[1], len(self.level_sizes)
    if width % levels:
      raise ValueError(
        f"ProductQuantization cuts vectors of width {width} into {levels}"
        " equal parts: choose a number of levels that divides the width."
      )
    mean_D = vectors_ND.mean(axis=0, dtype=np.float64)
    centred_ND = vectors_ND - mean_D[None, :]
    rotation_DD = principal_axes(centred_ND, levels)
    x_ND = jnp.asarray(centred_ND, jnp.float32)
    with jax.default_matmul_precision("highest"):
      books = self._start(x_ND @ rotation_DD.T, seed)
      for _ in range(self.rotations):
        rotation_DD, books = _improve(x_ND, rotation_DD, books)
    return ProductCodes(
      width=width,
      level_sizes=tuple(self.level_sizes),
      mean=mean_D.astype(np.float32),
      rotation=np.asarray(rotation_DD, np.float32),
      codebooks=tuple(np.asarray(b) for b in books),
    )

  def _start(self, rotated_ND, seed):
    key = jax.random.key(seed)
    parts = jnp.split(rotated_ND, len(self.level_sizes), axis=1)
    return tuple(
      kmeans(
        part_NP,
        jax.random.fold_in(key, level),
        num_codes=num_codes,
        iterations=self.iterations,
        sample=self.sample,
      )[0]
      for level, (part_NP, num_codes) in enumerate(
        zip(parts, self.level_sizes, strict=True)
      )
    )


def principal_axes(
  centred_ND: Float[np.ndarray, "N D"], parts: int
) -> Float[np.ndarray, "D D"]:
  """Principal axes as rows, dealt to parts whose variance products are alike.

  The next axis, by falling variance, goes to the part with the smallest product
  so far that has room (Ge et al., section 3.2).
  """
  width = centred_ND.shape[1]
  covariance_DD = centred_ND.T.astype(np.float64) @ centred_ND / len(centred_ND)
  variance_D, axes_DD = np.linalg.eigh(covariance_DD)
  # Signs are free: the largest entry of an axis is positive.
  largest_D = np.abs(axes_DD).argmax(axis=0)
  axes_DD = axes_DD * np.sign(axes_DD[largest_D, np.arange(width)])[None, :]
  # Logarithms of at least 0: a product grows with every axis it gets.
  floor = max(variance_D.max() * 1e-12, np.finfo(np.float64).tiny)
  log_D = np.log(np.maximum(variance_D, floor))
  log_D = log_D - log_D.min()
  chosen: list[list[int]] = [[] for _ in range(parts)]
  logs = np.zeros(parts)
  for axis in np.argsort(-variance_D, kind="stable"):
    room = [m for m in range(parts) if len(chosen[m]) < width // parts]
    part = min(room, key=lambda m: (logs[m], m))
    chosen[part].append(axis)
    logs[part] += log_D[axis]
  return axes_DD.T[np.concatenate(chosen)].astype(np.float32)


@jax.jit
def _improve(x_ND, rotation_DD, books):
  """One round: codes, their means, and the rotation that fits them best."""
  parts = jnp.split(x_ND @ rotation_DD.T, len(books), axis=1)
  means, coded = [], []
  for part_NP, book_CP in zip(parts, books, strict=True):
    codes_N = nearest(part_NP, book_CP)
    sums_CP, sizes_C = code_sums(part_NP, codes_N, book_CP.shape[0])
    mean_CP = sums_CP / jnp.maximum(sizes_C, 1.0)[:, None]
    means.append(jnp.where((sizes_C > 0)[:, None], mean_CP, book_CP))
    coded.append(means[-1][codes_N])
  # argmin over rotations of |x R^T - coded|^2.
  u_DD, _, v_DD = jnp.linalg.svd(jnp.concatenate(coded, axis=1).T @ x_ND)
  return u_DD @ v_DD, tuple(means)


@fitted("mean", "rotation", "codebooks")
@dataclasses.dataclass(frozen=True, eq=False)
class ProductCodes(Fitted):
  """A rotation and a codebook per part.

  Attributes:
    width: D.
    level_sizes: codes of each part.
    mean: (D,), subtracted first.
    rotation: (D, D) orthogonal; rows are the new axes.
    codebooks: per part (C, P).
  """

  width: int
  level_sizes: tuple[int, ...]
  mean: Any
  rotation: Any
  codebooks: tuple[Any, ...]

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    parts = self._parts(vectors_ND)
    codes = [
      nearest(part_NP, book_CP)
      for part_NP, book_CP in zip(parts, self.codebooks, strict=True)
    ]
    return jnp.stack(codes, axis=1)

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    return squared_distances(self._parts(vectors_ND)[-1], self.codebooks[-1])

  def _parts(self, vectors_ND):
    rotated_ND = (vectors_ND - self.mean[None, :]) @ self.rotation.T
    return jnp.split(rotated_ND, len(self.codebooks), axis=1)

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    parts = [
      book_CP[codes_NM[:, level]]
      for level, book_CP in enumerate(self.codebooks)
    ]
    coded_ND = jnp.concatenate(parts, axis=1)
    return coded_ND @ self.rotation + self.mean[None, :]
