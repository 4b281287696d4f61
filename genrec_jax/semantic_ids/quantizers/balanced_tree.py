# SPDX-License-Identifier: Apache-2.0
"""A balanced tree of items: codes are the turns on the way from root to leaf.

    level l splits every set of level l - 1 into `branch` parts of equal size
    (k-means with exactly equal parts), until a set has at most `branch` items:
    these are its leaves.              Depth M = ceil(log_branch N) for all.

SEATER (arXiv 2309.13375). Codes count within a node: the token of a node is its
whole path, which a model with a vector per node makes of the codes
(layers/node_embedding.py). A published path may be one step shorter than
others, where a set of the last but one depth is a single item: here that leaf
is its node's only child, which a trie forces and a softmax over children gives
probability 1, so that lengths need no padding code.

A rule on vectors would not give equal parts again, so the codes of what was
fitted are kept (`fit_codes`). A new vector goes down to the nearest center and
to its nearest leaf; a uniqueness rule finds it a free leaf beside, and the
tree is a little less balanced. Shapes: N vectors of width D, M levels.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.ops.equal_parts import equal_parts
from genrec_jax.semantic_ids.quantizers.base import (
  Fitted,
  check_vectors,
  fitted,
)


@dataclasses.dataclass(frozen=True)
class BalancedTree:
  """Options of the tree.

  Attributes:
    branch: children of a node, at most.
    iterations: rounds of k-means of a split, at most.
  """

  branch: int = 8
  iterations: int = 10

  def __post_init__(self):
    where = "config.tokens.tokenizer"
    check_counts(self, where, "branch", least=2)
    check_counts(self, where, "iterations")

  def fit(
    self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int = 0
  ) -> "TreeCodes":
    """Splits the items again and again.

    Raises:
      ValueError: no vectors, or vectors that are not finite.
    """
    check_vectors(vectors_ND)
    if not len(vectors_ND):
      raise ValueError("BalancedTree: there are no vectors.")
    levels = depth(len(vectors_ND), self.branch)
    codes_NM = np.zeros((len(vectors_ND), levels), np.int32)
    sets, centers = [np.arange(len(vectors_ND))], []
    for level in range(levels - 1):
      rng, parts, middle = np.random.default_rng([seed, level]), [], []
      for rows in sets:
        codes_n, center_CD = self._split(vectors_ND[rows], rng)
        codes_NM[rows, level] = codes_n
        parts += [rows[codes_n == code] for code in range(self.branch)]
        middle.append(center_CD)
      sets = parts
      centers.append(np.concatenate(middle).astype(np.float32))
    for rows in sets:
      codes_NM[rows, -1] = np.arange(len(rows))
    sizes = [len(rows) for rows in sets]
    return TreeCodes(
      width=vectors_ND.shape[1],
      level_sizes=(self.branch,) * levels,
      centers=tuple(centers),
      leaves=vectors_ND[np.concatenate(sets)].astype(np.float32),
      first_leaf=np.cumsum([0, *sizes]).astype(np.int32),
      fit_codes=codes_NM,
    )

  def _split(self, vectors_nD, rng):
    """Codes and means of equal parts."""
    vectors_nD = vectors_nD.astype(np.float64)
    center_CD = _start(vectors_nD, self.branch, rng)
    codes_n = np.full(len(vectors_nD), -1)
    for _ in range(self.iterations):
      new_n = equal_parts(_squares(vectors_nD, center_CD))
      if np.array_equal(new_n, codes_n):
        break
      codes_n = new_n
      center_CD = np.stack(
        [
          vectors_nD[codes_n == code].mean(axis=0)
          for code in range(self.branch)
        ]
      )
    return codes_n, center_CD


def depth(count: int, branch: int) -> int:
  """Levels of a tree with so many leaves: ceil(log), and at least 1."""
  levels = 1
  while branch**levels < count:
    levels += 1
  return levels


def _start(vectors_nD, count, rng):
  """Vectors far from each other (k-means++)."""
  rows = [int(rng.integers(len(vectors_nD)))]
  apart_n = np.full(len(vectors_nD), np.inf)
  for _ in range(count - 1):
    gaps_nD = vectors_nD - vectors_nD[rows[-1]][None, :]
    apart_n = np.minimum(apart_n, np.square(gaps_nD).sum(axis=1))
    total = apart_n.sum()
    share_n = apart_n / total if total > 0 else None
    rows.append(int(rng.choice(len(vectors_nD), p=share_n)))
  return vectors_nD[rows]


def _squares(vectors_nD, center_CD):
  middle_1D = vectors_nD.mean(axis=0, keepdims=True)
  vectors_nD, center_CD = vectors_nD - middle_1D, center_CD - middle_1D
  square_C = np.square(center_CD).sum(axis=1)
  return square_C[None, :] - 2 * vectors_nD @ center_CD.T


@fitted("centers", "leaves", "first_leaf", "fit_codes")
@dataclasses.dataclass(frozen=True, eq=False)
class TreeCodes(Fitted):
  """The nodes of a tree; those of a depth are numbered along the leaves.

  Attributes:
    width: D.
    level_sizes: children of a node, by level: all the same.
    centers: by depth 1 to M - 1, (branch^depth, D): means of the nodes' items.
    leaves: (N, D), vectors of the items in the order of the leaves.
    first_leaf: first leaf of each node of depth M - 1, and N.
    fit_codes: (N, M), codes of what was fitted, in its order.
  """

  width: int
  level_sizes: tuple[int, ...]
  centers: tuple[Any, ...]
  leaves: Any
  first_leaf: Any
  fit_codes: Any

  def _encode(self, vectors_ND: Float[Array, "N D"]) -> Int[Array, "N M"]:
    codes, node_N = self._descend(vectors_ND)
    last_N = jnp.argmin(self._leaf_costs(vectors_ND, node_N), axis=1)
    codes.append(last_N.astype(jnp.int32))
    return jnp.stack(codes, axis=1)

  def _costs(self, vectors_ND: Float[Array, "N D"]) -> Float[Array, "N C"]:
    return self._leaf_costs(vectors_ND, self._descend(vectors_ND)[1])

  def _descend(self, vectors_ND):
    """Codes of all levels but the last, and the node that they lead to."""
    codes, node_N = [], jnp.zeros(vectors_ND.shape[0], jnp.int32)
    for center_CD in self.centers:
      children_NC = self._children(node_N)
      # Row by row: a product over all nodes would be wider at each depth.
      gaps_NCD = vectors_ND[:, None, :] - center_CD[children_NC]
      costs_NC = jnp.sum(jnp.square(gaps_NCD), axis=2)
      codes.append(jnp.argmin(costs_NC, axis=1).astype(jnp.int32))
      node_N = node_N * self.level_sizes[0] + codes[-1]
    return codes, node_N

  def _children(self, node_N):
    branch = self.level_sizes[0]
    return node_N[:, None] * branch + jnp.arange(branch)[None, :]

  def _leaf(self, node_N, code_N):
    """Vectors of leaves; where there is none yet, their node's center."""
    place_N = self.first_leaf[node_N] + code_N
    there_N = place_N < self.first_leaf[node_N + 1]
    place_N = jnp.minimum(place_N, self.leaves.shape[0] - 1)
    middle_ND = jnp.mean(self.leaves, axis=0)[None, :]
    if self.centers:
      middle_ND = self.centers[-1][node_N]
    return jnp.where(there_N[:, None], self.leaves[place_N], middle_ND), there_N

  def _leaf_costs(self, vectors_ND, node_N):
    """To the leaves that are there; a free one costs more than all of them."""
    costs, there = [], []
    for code in range(self.level_sizes[-1]):
      leaf_ND, there_N = self._leaf(node_N, jnp.full_like(node_N, code))
      costs.append(jnp.sum(jnp.square(vectors_ND - leaf_ND), axis=1))
      there.append(there_N)
    costs_NC, there_NC = jnp.stack(costs, axis=1), jnp.stack(there, axis=1)
    worst_N1 = jnp.max(costs_NC, axis=1, keepdims=True)
    return jnp.where(there_NC, costs_NC, 2 * worst_N1 + 1)

  def _decode(self, codes_NM: Int[Array, "N M"]) -> Float[Array, "N D"]:
    node_N = jnp.zeros(codes_NM.shape[0], jnp.int32)
    for level in range(len(self.centers)):
      node_N = node_N * self.level_sizes[0] + codes_NM[:, level]
    return self._leaf(node_N, codes_NM[:, -1])[0]
