# SPDX-License-Identifier: Apache-2.0
"""k-means on the device: k-means++ start, Lloyd's rounds, empty codes moved.

    code(x) = argmin_c |x - e_c|^2 + price_c          ties: the lower code
    e_c     = mean of the vectors with code c

Prices are 0 in plain k-means. Balanced k-means sets them so that all codes
are taken about equally often: the vectors of a code are then a cell of a power
diagram, the form of the cheapest partition into equal parts (Aurenhammer et
al., 1998). A rule on vectors, so it also codes vectors that come later, which
an assignment by turns (OneRec, arXiv 2502.18965) does not; in return parts are
nearly and not exactly equal, and equal vectors always share a code.
A code that loses all its vectors is put on the worst coded vector that no code
is at. Where fewer vectors differ than there are codes, the codes beyond share a
vector with another one, and vectors take the lower code.

Distances are taken around the middle of the centers: a matrix product of
vectors far from 0 keeps nothing of what tells codes apart. Their error is about
1e-6 of the squared distances from that middle, wherever 0 is.
Start: Arthur and Vassilvitskii, k-means++, SODA 2007, on a seeded sample.
Sums over a code are scatters: the same bits on every run where those are
ordered, as on CPUs and TPUs. Memory: (block, C) distances at a time.
Shapes: N vectors of width D, C codes.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.ops.equal_rows import first_equal, is_first

# Distances held at once: 2^22 float32 are 16 MiB.
_BLOCK_DISTANCES = 1 << 22
# Softness of the price rounds, in units of the vectors' variance: it falls
# from the first by the factor each round to the last.
_FIRST_SOFTNESS, _SOFTNESS_FACTOR, _LAST_SOFTNESS = 0.5, 0.8, 0.01
_PRICE_STEPS, _LAST_PRICE_STEPS = 20, 200


def distances(
  vectors_ND: Float[Array, "N D"], centers_CD: Float[Array, "C D"]
) -> Float[Array, "N C"]:
  """|e_c - m|^2 - 2 <x - m, e_c - m>: squared distances up to |x - m|^2.

  m is the middle of the centers. For codes by argmin: the term of the vector
  would only take bits from the differences. Of two centers whose distances
  differ by less than 1e-7 |x - m|^2 either may be taken for the nearer one, so
  groups of centers should not lie farther apart than 1,000 times their own
  spacing.
  """
  middle_1D = _middle(centers_CD)
  centers_CD = centers_CD - middle_1D
  products_NC = jnp.einsum(
    "ND,CD->NC",
    vectors_ND - middle_1D,
    centers_CD,
    precision=lax.Precision.HIGHEST,
  )
  return jnp.sum(jnp.square(centers_CD), axis=1)[None, :] - 2 * products_NC


def squared_distances(
  vectors_ND: Float[Array, "N D"], centers_CD: Float[Array, "C D"]
) -> Float[Array, "N C"]:
  """|x - e_c|^2, at least 0: comparable between vectors too."""
  gaps_ND = vectors_ND - _middle(centers_CD)
  lengths_N = jnp.sum(jnp.square(gaps_ND), axis=1)
  squares_NC = distances(vectors_ND, centers_CD) + lengths_N[:, None]
  return jnp.maximum(squares_NC, 0.0)


def _middle(centers_CD):
  """Their upper median in each column; a center far off does not move it."""
  middle = centers_CD.shape[0] // 2
  return jnp.sort(centers_CD, axis=0)[middle : middle + 1]


def nearest(
  vectors_ND: Float[Array, "N D"],
  centers_CD: Float[Array, "C D"],
  prices_C: Float[Array, "C"] | None = None,
) -> Int[Array, "N"]:
  """The code of each vector."""
  costs_NC = distances(vectors_ND, centers_CD)
  if prices_C is not None:
    costs_NC = costs_NC + prices_C[None, :]
  return jnp.argmin(costs_NC, axis=1).astype(jnp.int32)


def code_sums(
  vectors_ND: Float[Array, "N D"], codes_N: Int[Array, "N"], num_codes: int
) -> tuple[Float[Array, "C D"], Float[Array, "C"]]:
  """Sum and number of the vectors of each code; code num_codes: of none."""
  sums_CD = jnp.zeros((num_codes, vectors_ND.shape[1]), vectors_ND.dtype)
  sums_CD = sums_CD.at[codes_N].add(vectors_ND, mode="drop")
  # Counted as integers: float32 stops at 2^24.
  sizes_C = jnp.zeros(num_codes, jnp.int32).at[codes_N].add(1, mode="drop")
  return sums_CD, sizes_C.astype(vectors_ND.dtype)


def draw_by_weight(
  weight_N: Float[Array, "N"], count: int, key: Key[Array, ""]
) -> Int[Array, "T"]:
  """count indices, each drawn with a probability proportional to its weight.

  One of about sqrt(N) blocks is drawn first, then an index within it. A single
  float32 sum over all weights stops growing where it is 2^24 times a weight,
  and a float32 draw has 2^23 values: indices beyond would never come.

  Args:
    weight_N: at least 0, and not all 0.
    count: T.
    key: of the draws.
  """
  (size,) = weight_N.shape
  width = math.isqrt(size - 1) + 1
  rows = -(-size // width)
  sums_RW = jnp.pad(weight_N, (0, rows * width - size)).reshape(rows, width)
  sums_RW = jnp.cumsum(sums_RW, axis=1)
  sums_R = jnp.cumsum(sums_RW[:, -1])
  row_key, place_key = jax.random.split(key)
  draw_T = jax.random.uniform(row_key, (count,)) * sums_R[-1]
  row_T = jnp.searchsorted(sums_R, draw_T, side="right")
  row_T = jnp.minimum(row_T, rows - 1)
  sums_TW = sums_RW[row_T]
  draw_T = jax.random.uniform(place_key, (count,)) * sums_TW[:, -1]
  place_T = jax.vmap(functools.partial(jnp.searchsorted, side="right"))(
    sums_TW, draw_T
  )
  chosen_T = row_T * width + place_T
  # Sums that were rounded may end at an index of no weight.
  possible_T = weight_N.at[chosen_T].get(mode="fill", fill_value=0) > 0
  return jnp.where(possible_T, chosen_T, jnp.argmax(weight_N))


def kmeans_plus_plus(
  vectors_ND: Float[Array, "N D"], num_codes: int, key: Key[Array, ""]
) -> Float[Array, "C D"]:
  """num_codes of the vectors, each drawn by its distance to those before.

  No two are equal; where no vector is left that differs from all chosen ones,
  any is drawn.
  """
  equal_N = first_equal(vectors_ND)
  # Each center is the best of a few draws, as many as scikit-learn takes.
  trials = 2 + int(math.log(num_codes))

  def add(index, state):
    centers_CD, apart_N, free_N = state
    # Rounding leaves equal vectors apart, and near ones not.
    weight_N = jnp.where(free_N, apart_N, 0.0)
    # All alike at the first draw, and where nothing is apart any more.
    uniform = (index == 0) | (jnp.max(weight_N) <= 0)
    alike_N = jnp.where(jnp.any(free_N), free_N, True).astype(apart_N.dtype)
    weight_N = jnp.where(uniform, alike_N, weight_N)
    chosen_T = draw_by_weight(weight_N, trials, jax.random.fold_in(key, index))
    tried_TD = vectors_ND[chosen_T]
    gaps_NT = squared_distances(vectors_ND, tried_TD)
    gaps_NT = jnp.minimum(apart_N[:, None], gaps_NT)
    best = jnp.argmin(jnp.sum(gaps_NT, axis=0))
    free_N = free_N & (equal_N != equal_N[chosen_T[best]])
    return centers_CD.at[index].set(tried_TD[best]), gaps_NT[:, best], free_N

  count, width = vectors_ND.shape
  centers_CD = jnp.zeros((num_codes, width), vectors_ND.dtype)
  apart_N = jnp.full(count, jnp.inf, vectors_ND.dtype)
  state = (centers_CD, apart_N, jnp.ones(count, bool))
  return lax.fori_loop(0, num_codes, add, state)[0]


@functools.partial(
  jax.jit, static_argnames=("num_codes", "iterations", "balanced", "sample")
)
def kmeans(
  vectors_ND: Float[Array, "N D"],
  key: Key[Array, ""],
  *,
  num_codes: int,
  iterations: int = 50,
  balanced: bool = False,
  sample: int = 65_536,
) -> tuple[Float[Array, "C D"], Float[Array, "C"]]:
  """Centers and prices of num_codes codes; at most N of them.

  Args:
    vectors_ND: what to cluster.
    key: of the start.
    num_codes: C.
    iterations: rounds at most; plain k-means stops when no code changes.
    balanced: set prices so that codes are taken about equally often.
    sample: vectors that the start is drawn from, at most.
  """
  # Around 0, where sums of many vectors round off least; a mean of what is
  # taken off one of them is right wherever 0 is.
  first_1D = vectors_ND[:1]
  shift_D = first_1D[0] + jnp.mean(vectors_ND - first_1D, axis=0)
  vectors_ND = vectors_ND - shift_D[None, :]
  blocks = _Blocks(vectors_ND, num_codes)
  start_key, sample_key = jax.random.split(key)
  some_ND = vectors_ND
  if sample < vectors_ND.shape[0]:
    some_ND = jax.random.choice(
      sample_key, vectors_ND, (sample,), replace=False, axis=0
    )
  centers_CD = kmeans_plus_plus(some_ND, num_codes, start_key)
  if balanced:
    centers_CD, prices_C = _balanced(blocks, centers_CD, iterations)
    return centers_CD + shift_D[None, :], prices_C

  def step(state):
    centers_CD, codes_N, _, rounds = state
    centers_CD, new_N = blocks.round(centers_CD, jnp.zeros(num_codes))
    return centers_CD, new_N, jnp.any(new_N != codes_N), rounds + 1

  codes_N = jnp.full(blocks.shape, -1, jnp.int32)
  state = (centers_CD, codes_N, jnp.bool_(True), jnp.int32(0))
  centers_CD = lax.while_loop(
    lambda s: s[2] & (s[3] < iterations), step, state
  )[0]
  return centers_CD + shift_D[None, :], jnp.zeros(num_codes)


def _balanced(blocks, centers_CD, iterations):
  """Rounds whose prices get ever harder, and prices for the last centers."""
  variance = blocks.variance()

  def step(index, state):
    centers_CD, prices_C = state
    softness = _FIRST_SOFTNESS * _SOFTNESS_FACTOR ** index.astype(jnp.float32)
    softness = jnp.maximum(softness, _LAST_SOFTNESS) * variance
    prices_C = blocks.prices(centers_CD, prices_C, softness, _PRICE_STEPS)
    return blocks.round(centers_CD, prices_C)[0], prices_C

  state = (centers_CD, jnp.zeros(centers_CD.shape[0]))
  centers_CD, prices_C = lax.fori_loop(0, iterations, step, state)
  prices_C = blocks.prices(
    centers_CD, prices_C, _LAST_SOFTNESS * variance, _LAST_PRICE_STEPS
  )
  return centers_CD, prices_C


class _Blocks:
  """The vectors in blocks whose distances fit memory; the last is padded."""

  def __init__(self, vectors_ND, num_codes):
    count, width = vectors_ND.shape
    self.num_codes = num_codes
    size = min(count, max(1, _BLOCK_DISTANCES // num_codes))
    missing = -count % size
    padded = jnp.pad(vectors_ND, ((0, missing), (0, 0)))
    self.vectors = padded.reshape(-1, size, width)
    self.shape = self.vectors.shape[:2]
    self.real = (jnp.arange(count + missing) < count).reshape(self.shape)
    self.count = count
    self.first = is_first(padded, self.real.reshape(-1))

  def variance(self):
    """Mean squared distance to the mean."""
    mean_D = jnp.sum(self.vectors, axis=(0, 1)) / self.count
    gaps = jnp.square(self.vectors - mean_D[None, None, :])
    gaps = jnp.sum(jnp.where(self.real[:, :, None], gaps, 0.0)) / self.count
    # Prices of vectors that are all equal have nothing to do.
    return jnp.maximum(gaps, 1e-12)

  def round(self, centers_CD, prices_C):
    """The means of the codes' vectors, and the codes they are means of."""

    def some(block):
      vectors_nD, real_n = block
      costs_nC = distances(vectors_nD, centers_CD)
      codes_n = jnp.argmin(costs_nC + prices_C[None, :], axis=1)
      gaps_nD = vectors_nD - centers_CD[codes_n]
      gaps_n = jnp.sum(jnp.square(gaps_nD), axis=1)
      codes_n = jnp.where(real_n, codes_n, self.num_codes)
      sums_CD, sizes_C = code_sums(vectors_nD, codes_n, self.num_codes)
      return codes_n.astype(jnp.int32), gaps_n, sums_CD, sizes_C

    codes, gaps, sums, sizes = lax.map(some, (self.vectors, self.real))
    sizes_C = jnp.sum(sizes, axis=0)
    means_CD = jnp.sum(sums, axis=0) / jnp.maximum(sizes_C, 1.0)[:, None]
    empty_C = sizes_C == 0
    moved_CD, moved_C = self._moved(gaps.reshape(-1), means_CD, empty_C)
    kept_CD = jnp.where(moved_C[:, None], moved_CD, centers_CD)
    return jnp.where(empty_C[:, None], kept_CD, means_CD), codes

  def _moved(self, gaps_N, means_CD, empty_C):
    """Vectors for empty codes to move to, and which of these there are.

    The j-th empty code goes to the j-th worst coded of the vectors that differ
    from each other and from all means. Of the C worst that differ from each
    other, at most as many are means as there are codes that are not empty: the
    others are enough.
    """
    gaps_N = jnp.where(self.first, gaps_N, -jnp.inf)
    worst_C = lax.top_k(gaps_N, self.num_codes)[1]
    worst_CD = self.vectors.reshape(-1, means_CD.shape[1])[worst_C]
    free_C = is_first(
      jnp.concatenate([means_CD, worst_CD]),
      jnp.concatenate([~empty_C, self.first[worst_C]]),
    )[self.num_codes :]
    order_C = jnp.argsort(~free_C)
    rank_C = jnp.cumsum(empty_C) - 1
    return worst_CD[order_C[rank_C]], empty_C & (rank_C < jnp.sum(free_C))

  def prices(self, centers_CD, prices_C, softness, steps):
    """Raises prices of codes that are taken too often, softly (Sinkhorn)."""

    def shares(prices_C):
      def some(block):
        costs_nC = distances(block[0], centers_CD) + prices_C[None, :]
        shares_nC = jax.nn.softmax(-costs_nC / softness, axis=1)
        return jnp.sum(jnp.where(block[1][:, None], shares_nC, 0.0), axis=0)

      return jnp.sum(lax.map(some, (self.vectors, self.real)), axis=0)

    def step(_, prices_C):
      taken_C = shares(prices_C) * (self.num_codes / self.count)
      # Codes that nobody takes come down by at most log(1e3) a step.
      prices_C = prices_C + softness * jnp.log(taken_C + 1e-3)
      return prices_C - jnp.mean(prices_C)

    return lax.fori_loop(0, steps, step, prices_C)
