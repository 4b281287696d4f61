# SPDX-License-Identifier: Apache-2.0
"""Residual vector quantisation as a layer, codes by gradient or by average.

    r_1 = z;   c_l = argmin_k |r_l - e^l_k|^2;   q_l = e^l_{c_l}
    r_{l+1} = r_l - q_l
    codebook loss   |sg[r_l] - q_l|^2          commitment   |r_l - sg[q_l]|^2

averaged over the width and summed over levels (RQ-VAE: Lee et al., CVPR 2022;
Zeghidour et al., arXiv 2107.03312). With `ema` codes take no gradient; of each
code's share of the batch n_k and sum of residuals m_k, both per token,

    N_k <- g N_k + (1 - g) n_k;   M_k <- g M_k + (1 - g) m_k;   e_k = M_k / N~_k

(van den Oord et al., arXiv 1711.00937, appendix A.1) with N~ = (N + eps) /
(1 + C eps). A code whose share N_k falls below `reset_share` of an equal one
moves to a random residual of the batch that no code is at, each to another;
where the batch has too few of those, the codes beyond stay as they are until a
later batch. What is set so leaves the layer as `assign`, for the train step to
put in place after the optimizer.
Shapes: T vectors of width D, M levels, C codes.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.ops.equal_rows import is_first
from genrec_jax.ops.kmeans import code_sums, nearest, squared_distances
from genrec_jax.ops.sinkhorn import sinkhorn_codes

_EPS = 1e-7


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Quantized:
  """What quantisation makes of T vectors.

  Attributes:
    codes: (T, M) int32.
    vectors: (T, D), the sums of the codes' vectors, without a gradient to z.
    codebook: (T,) codebook loss; 0 with ema.
    commitment: (T,) commitment loss.
    assign: path below the layer -> (where, value), see core/types.py.
    diversity: (T,) loss of quantisers that have one (diverse_quantizer.py).
  """

  codes: Any
  vectors: Any
  codebook: Any
  commitment: Any
  assign: Any
  diversity: Any = None


class Codebook(nn.Module):
  """Codes of one level: `embedding` (C, D), `usage` (C,) and `sums` (C, D)."""

  num_codes: int
  width: int

  @nn.compact
  def __call__(
    self,
  ) -> tuple[Float[Array, "C D"], Float[Array, "C"], Float[Array, "C D"]]:
    """Vectors, shares N and sums M of the codes."""
    shape, equal = (self.num_codes, self.width), 1 / self.num_codes

    def uniform(key, shape, dtype=jnp.float32):
      return jax.random.uniform(key, shape, dtype, -equal, equal)

    embedding = self.param("embedding", uniform, shape)
    usage = self.param(
      "usage", nn.initializers.constant(equal), (self.num_codes,)
    )
    sums = self.param("sums", lambda key, shape: embedding * equal, shape)
    return embedding, usage, sums


class ResidualQuantizer(nn.Module):
  """Codes what the levels before left over.

  Attributes:
    level_sizes: codes of each level.
    width: D of codes.
    ema: codes are moving averages and take no gradient.
    decay: g, of the averages; of usage also without ema.
    reset_share: a code used less than this share of an equal share moves to a
      random residual; 0 never.
    sinkhorn: softness of Sinkhorn's assignment by level, in training; 0 takes
      the nearest code.
    sinkhorn_rounds: of its scaling.
    cumulative: commitment of z to the sum of all levels so far, instead of
      each residual to its code (RQ-Transformer).
  """

  level_sizes: tuple[int, ...]
  width: int
  ema: bool = True
  decay: float = 0.99
  reset_share: float = 0.0
  sinkhorn: tuple[float, ...] = ()
  sinkhorn_rounds: int = 50
  cumulative: bool = False

  def __post_init__(self):
    super().__post_init__()
    if self.sinkhorn and len(self.sinkhorn) != len(self.level_sizes):
      raise ValueError(
        f"sinkhorn={tuple(self.sinkhorn)} must have one softness for each of"
        f" the {len(self.level_sizes)} levels, or none."
      )

  def setup(self):
    self.level = [Codebook(size, self.width) for size in self.level_sizes]

  def __call__(
    self,
    z_TD: Float[Array, "T D"],
    where_T: Bool[Array, "T"],
    *,
    train: bool,
  ) -> Quantized:
    """Quantises vectors; only those where `where_T` holds are learned from.

    Args:
      z_TD: vectors.
      where_T: which of them are real.
      train: assign by Sinkhorn where asked, and set averages and resets; takes
        a key of the stream "dropout" for resets.
    """
    left_TD, total_TD = z_TD, jnp.zeros_like(z_TD)
    codebook_T = commitment_T = jnp.zeros(z_TD.shape[0])
    codes, assign = [], {}
    for number, level in enumerate(self.level):
      book_CD, usage_C, sums_CD = level()
      book_CD = jax.lax.stop_gradient(book_CD) if self.ema else book_CD
      fixed_TD = jax.lax.stop_gradient(left_TD)
      code_T = self._codes(number, fixed_TD, book_CD, where_T, train)
      chosen_TD = book_CD[code_T]
      fixed_chosen_TD = jax.lax.stop_gradient(chosen_TD)
      codebook_T += jnp.mean(jnp.square(fixed_TD - chosen_TD), axis=1)
      total_TD += chosen_TD
      away_TD = left_TD - fixed_chosen_TD
      if self.cumulative:
        away_TD = z_TD - jax.lax.stop_gradient(total_TD)
      commitment_T += jnp.mean(jnp.square(away_TD), axis=1)
      if train:
        key = self.make_rng("dropout") if self.reset_share else None
        new = self._update(
          (book_CD, usage_C, sums_CD), fixed_TD, code_T, where_T, key
        )
        assign.update({(f"level_{number}", n): pair for n, pair in new.items()})
      left_TD = left_TD - fixed_chosen_TD
      codes.append(code_T)
    return Quantized(
      codes=jnp.stack(codes, axis=1),
      vectors=total_TD,
      codebook=jnp.zeros_like(codebook_T) if self.ema else codebook_T,
      commitment=commitment_T,
      assign=assign,
    )

  def _codes(self, number, left_TD, book_CD, where_T, train):
    book_CD = jax.lax.stop_gradient(book_CD)
    softness = self.sinkhorn[number] if self.sinkhorn else 0.0
    if not (train and softness):
      return nearest(left_TD, book_CD)
    return sinkhorn_codes(
      squared_distances(left_TD, book_CD),
      softness=softness,
      rounds=self.sinkhorn_rounds,
      where_N=where_T,
    )

  def _update(self, book, left_TD, code_T, where_T, key):
    """What to assign to a codebook's parameters after this batch."""
    book_CD, usage_C, sums_CD = (jax.lax.stop_gradient(x) for x in book)
    usage_C, sums_CD = averages(
      usage_C, sums_CD, left_TD, code_T, where_T, self.decay
    )
    value_CD, where_C = book_CD, jnp.full(usage_C.shape, self.ema)
    num_codes = usage_C.shape[0]
    if self.ema:
      smooth_C = (usage_C + _EPS) / (1 + num_codes * _EPS)
      value_CD = sums_CD / smooth_C[:, None]
    if key is not None:
      dead_C = usage_C < self.reset_share / num_codes
      free_T = new_rows(left_TD, where_T, value_CD)
      drawn_CD, drawn_C = random_rows(left_TD, free_T, num_codes, key)
      # The j-th dead code moves to the j-th vector drawn, if there is one.
      rank_C = jnp.cumsum(dead_C) - 1
      drawn_CD, dead_C = drawn_CD[rank_C], dead_C & drawn_C[rank_C]
      usage_C = jnp.where(dead_C, 1 / num_codes, usage_C)
      sums_CD = jnp.where(dead_C[:, None], drawn_CD / num_codes, sums_CD)
      value_CD = jnp.where(dead_C[:, None], drawn_CD, value_CD)
      where_C = where_C | dead_C
    everywhere = jnp.ones_like
    return {
      "embedding": (
        jnp.broadcast_to(where_C[:, None], value_CD.shape),
        value_CD,
      ),
      "usage": (everywhere(usage_C, dtype=bool), usage_C),
      "sums": (everywhere(sums_CD, dtype=bool), sums_CD),
    }


def averages(
  usage_C: Float[Array, "C"],
  sums_CD: Float[Array, "C D"],
  vectors_TD: Float[Array, "T D"],
  codes_T: Int[Array, "T"],
  where_T: Bool[Array, "T"],
  decay: float,
) -> tuple[Float[Array, "C"], Float[Array, "C D"]]:
  """Shares and sums of codes, moved towards those of a batch."""
  num_codes = usage_C.shape[0]
  codes_T = jnp.where(where_T, codes_T, num_codes)
  batch_CD, count_C = code_sums(vectors_TD, codes_T, num_codes)
  count = jnp.sum(count_C)
  # A batch without vectors says nothing.
  weight = jnp.where(count > 0, 1 - decay, 0.0)
  count = jnp.maximum(count, 1.0)
  usage_C = usage_C + weight * (count_C / count - usage_C)
  return usage_C, sums_CD + weight * (batch_CD / count - sums_CD)


def new_rows(
  vectors_TD: Float[Array, "T D"],
  where_T: Bool[Array, "T"],
  book_CD: Float[Array, "C D"],
) -> Bool[Array, "T"]:
  """Real vectors that equal no code's and no real vector before them."""
  codes_C = jnp.ones(book_CD.shape[0], bool)
  first = is_first(
    jnp.concatenate([book_CD, vectors_TD]), jnp.concatenate([codes_C, where_T])
  )
  return first[book_CD.shape[0] :]


def random_rows(
  vectors_TD: Float[Array, "T D"],
  where_T: Bool[Array, "T"],
  count: int,
  key: Key[Array, ""],
) -> tuple[Float[Array, "count D"], Bool[Array, "count"]]:
  """Random vectors where `where_T` holds, none twice, and which are there."""
  order_T = jnp.argsort(
    jnp.where(where_T, jax.random.uniform(key, where_T.shape), 2.0)
  )
  drawn = jnp.arange(count)
  rows = order_T[jnp.minimum(drawn, where_T.shape[0] - 1)]
  return vectors_TD[rows], drawn < jnp.sum(where_T)
