# SPDX-License-Identifier: Apache-2.0
"""Residual k-means: each level clusters what the levels before left over.

    r_1 = x;   c_l = code of r_l (ops/kmeans.py);   r_{l+1} = r_l - e^l_{c_l}
    decode(c) = sum_l e^l_{c_l}

Plain or balanced (OneRec, arXiv 2502.18965); with residuals scaled to unit
length before every level (GRID, arXiv 2507.22224) each level sees directions:

    r_l <- r_l / |r_l|;     decode multiplies by the mean |r_l| of the fit

No encoder, no training: level after level, deterministic in the seed.
Shapes: N vectors of width D, M levels, C codes of a level.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.ops.kmeans import kmeans, nearest, squared_distances
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.semantic_ids.quantizers.base import (
  Fitted,
  check_sizes,
  check_vectors,
  fitted,
)


@dataclasses.dataclass(frozen=True)
class ResidualKMeans:
  """Options of residual k-means.

  Attributes:
    level_sizes: codes of each level.
    balanced: all codes of a level are taken about equally often.
    normalize_residuals: scale what is left to unit length before each level.
    iterations: rounds of k-means a level, at most.
    sample: vectors that each k-means start is drawn from, at most.
  """

  level_sizes: tuple[int, ...] = (256, 256, 256)
  balanced: bool = False
  normalize_residuals: bool = False
  iterations: int = 50
  sample: int = 65_536

  def fit(
    self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int = 0
  ) -> "ResidualCodes":
    """Clusters vectors level by level.

    Raises:
      ValueError: a level of more codes than there are vectors, or vectors
        that are not finite.
    """
    check_vectors(vectors_ND)
    check_sizes(self.level_sizes, len(vectors_ND), "ResidualKMeans")
    key = jax.random.key(seed)
    left_ND = jnp.asarray(vectors_ND, jnp.float32)
    scales, books, prices = [], [], []
    for level, num_codes in enumerate(self.level_sizes):
      scale = 1.0
      if self.normalize_residuals:
        lengths_N = jnp.linalg.norm(left_ND, axis=1)
        scale = float(jnp.mean(lengths_N))
        left_ND = l2_normalize(left_ND)
      centers_CD, prices_C = kmeans(
        left_ND,
        jax.random.fold_in(key, level),
        num_codes=num_codes,
        iterations=self.iterations,
        balanced=self.balanced,
        sample=self.sample,
      )
      left_ND = left_ND - centers_CD[nearest(left_ND, centers_CD, prices_C)]
      scales.append(scale)
      books.append(np.asarray(centers_CD))
      prices.append(np.asarray(prices_C))
    return ResidualCodes(
      width=vectors_ND.shape[1],
      level_sizes=tuple(self.level_sizes),
      normalize_residuals=self.normalize_residuals,
      scales=tuple(scales),
      codebooks=tuple(books),
      prices=tuple(prices),
    )


@fitted("codebooks", "prices")
@dataclasses.dataclass(frozen=True, eq=False)
class ResidualCodes(Fitted):
  """Codebooks of residual levels.

  Attributes:
    width: D.
    level_sizes: codes of each level.
    normalize_residuals: whether levels see unit vectors.
    scales: mean length of what each level saw; 1 where not normalised.
    codebooks: per level (C, D).
    prices: per level (C,), added to squared distances; see ops/kmeans.py.
  """

  width: int
  level_sizes: tuple[int, ...]
  normalize_residuals: bool
  scales: tuple[float, ...]
  codebooks: tuple[Any, ...]
  prices: tuple[Any, ...]

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    return self._levels(vectors_ND)[0]

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    left_ND = self._levels(vectors_ND)[1]
    squares_NC = squared_distances(left_ND, self.codebooks[-1])
    return squares_NC + self.prices[-1][None, :]

  def _levels(self, left_ND):
    """Codes of all levels, and what the last level saw."""
    codes, seen_ND = [], left_ND
    for center_CD, price_C in zip(self.codebooks, self.prices, strict=True):
      if self.normalize_residuals:
        left_ND = l2_normalize(left_ND)
      codes.append(nearest(left_ND, center_CD, price_C))
      seen_ND, left_ND = left_ND, left_ND - center_CD[codes[-1]]
    return jnp.stack(codes, axis=1), seen_ND

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    total_ND, scale = jnp.zeros((codes_NM.shape[0], self.width)), 1.0
    for level, book_CD in enumerate(self.codebooks):
      scale = scale * self.scales[level]
      total_ND = total_ND + scale * book_CD[codes_NM[:, level]]
    return total_ND
