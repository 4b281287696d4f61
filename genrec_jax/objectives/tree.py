# SPDX-License-Identifier: Apache-2.0
"""Losses on a tree of items beside the codes' own (SEATER, arXiv 2309.13375).

ChildAlignment   -log e^{<n, p> / t} / (e^{<n, p> / t} + sum_{q} e^{<n, q> / t})
                 unit vectors of a node n, its parent p, and other nodes q of
                 the batch that are not n's own children
PrefixRanking    mean over pairs with l_a > l_b of
                 max(0, score_b - score_a + margin (l_a - l_b))
                 l: first codes that a drawn item shares with the target

Nodes count once, however many items of the batch lie below them.
Shapes: U items looked at, N = U M nodes, K drawn items.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import (
  check_counts,
  check_positive,
  check_scales,
)
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


@dataclasses.dataclass(frozen=True)
class ChildAlignment:
  """See the module docstring.

  Attributes:
    temperature: t; published .2 and .3.
    num_items: U, items of the batch whose nodes are looked at, drawn; the work
      grows with its square.
  """

  temperature: float = 0.2
  num_items: int = 256

  def __post_init__(self):
    check_positive(self, "config.objective", "temperature")
    check_counts(self, "config.objective", "num_items")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """Mean over distinct nodes below the first depth; weights say nothing.

    Raises:
      ValueError: a system whose items are no paths of nodes.
    """
    del items, weights
    if "node_BSM" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.ChildAlignment is a loss of models.TreeDecoder: make that"
        " config.system."
      )
    node_BSM, node_BSMD = outputs.aux["node_BSM"], outputs.aux["node_BSMD"]
    levels, width = node_BSMD.shape[2:]
    keep_T = (batch["segment_ids_BL"] > 0).reshape(-1)
    if where is not None:
      keep_T = keep_T & where.reshape(-1)
    order_T = jnp.argsort(
      jnp.where(keep_T, jax.random.uniform(rng, keep_T.shape), 2.0)
    )
    rows_U = order_T[: self.num_items]
    node_UM = node_BSM.reshape(-1, levels)[rows_U]
    vector_ND = node_BSMD.reshape(-1, levels, width)[rows_U]
    vector_ND = l2_normalize(vector_ND.reshape(-1, width).astype(jnp.float32))
    real_N = jnp.repeat(keep_T[rows_U], levels)
    id_N = node_UM.reshape(-1)
    # -1: the root has no vector.
    parent_UM = jnp.pad(node_UM[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    parent_N = parent_UM.reshape(-1)
    place_N = jnp.arange(len(id_N))
    first_N = real_N & (_first_place(id_N, real_N) == place_N)
    scores_NN = jnp.matmul(vector_ND, vector_ND.T, precision=SCORES)
    scores_NN = scores_NN / self.temperature
    own_child_NN = parent_N[None, :] == id_N[:, None]
    same_NN = id_N[None, :] == id_N[:, None]
    out_NN = ~first_N[None, :] | own_child_NN | same_NN
    # An item's nodes stand in order: the parent is the one before.
    up_N = jnp.maximum(place_N - 1, 0)
    positive_N = jnp.take_along_axis(scores_NN, up_N[:, None], axis=1)[:, 0]
    all_N = jax.nn.logsumexp(jnp.where(out_NN, _MASKED, scores_NN), axis=1)
    mean = Mean.of(all_N - positive_N, where=first_N & (parent_N >= 0))
    return mean.compute(), {"child_alignment": mean}


def _first_place(id_N, real_N):
  """Where each id stands first among the real ones."""
  same_NN = (id_N[None, :] == id_N[:, None]) & real_N[None, :]
  return jnp.argmax(same_NN, axis=1)


@dataclasses.dataclass(frozen=True)
class PrefixRanking:
  """See the module docstring.

  Attributes:
    margin: for every code that one of two shares more; published .001.
  """

  margin: float = 0.001

  def __post_init__(self):
    check_scales(self, "config.objective", "margin")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B S"] | None = None,
    weights: Float[Array, "B S"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """Mean over targets with a pair to compare.

    Raises:
      ValueError: a batch without drawn items.
    """
    del rng, items
    if "ranked_score_BSK" not in (outputs.aux or {}):
      raise ValueError(
        "objectives.PrefixRanking compares items that the layout draws and"
        " models.TreeDecoder scores: use layouts.TreeHistory and that system."
      )
    score_BSK = outputs.aux["ranked_score_BSK"].astype(jnp.float32)
    equal_BSKM = (
      batch["ranked_codes_BSKM"] == batch["target_codes_BSM"][:, :, None]
    )
    shared_BSK = jnp.sum(jnp.cumprod(equal_BSKM, axis=3), axis=3)
    drawn_BSK = batch["ranked_item_BSK"] > 0
    more_BSKK = shared_BSK[..., :, None] - shared_BSK[..., None, :]
    pair_BSKK = (more_BSKK > 0) & drawn_BSK[..., :, None]
    pair_BSKK = pair_BSKK & drawn_BSK[..., None, :]
    gap_BSKK = score_BSK[..., None, :] - score_BSK[..., :, None]
    hinge_BSKK = jnp.maximum(0.0, gap_BSKK + self.margin * more_BSKK)
    pairs_BS = jnp.sum(pair_BSKK, axis=(2, 3))
    loss_BS = jnp.sum(jnp.where(pair_BSKK, hinge_BSKK, 0.0), axis=(2, 3))
    loss_BS = loss_BS / jnp.maximum(pairs_BS, 1)
    keep_BS = (batch["target_item_BS"] > 0) & (pairs_BS > 0)
    if where is not None:
      keep_BS = keep_BS & where
    mean = Mean.of(loss_BS, where=keep_BS, weights=weights)
    return mean.compute(), {"prefix_ranking": mean}
