# SPDX-License-Identifier: Apache-2.0
"""The nearest items within clusters, in one program.

    a cluster   the items that share all codes: a slice of the trie's items
    table       as wide as the largest cluster, of every beam of every request

Every beam pays for the largest cluster, whatever its own: G rows of D numbers
are gathered for each. retrieval/cluster_index.py answers the same on the host,
where a cluster costs what it holds.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.decoding.candidates import count_items, nth_item
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES
from genrec_jax.ops.top_k import top_k


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Near:
  """The nearest allowed items of each beam, best first, then by id.

  Attributes:
    ids_BKN: 0 where a cluster holds fewer.
    scores_BKN: scale times cosine; -inf there.
    total_BK: log of the sum of exp(score) over all allowed items of the
      cluster; -inf where there is none.
  """

  ids_BKN: Any
  scores_BKN: Any
  total_BK: Any


def nearest_in_table(
  trie: Trie,
  leaves_BK: Int[Array, "B K"],
  there_BK: Bool[Array, "B K"],
  query_BKD: Float[Array, "B K D"],
  vectors_RD: Float[Array, "R D"],
  allowed: ItemBits | None,
  *,
  num_neighbors: int,
  scale: int | float,
) -> Near:
  """Compares each beam's vector with the items of its codes.

  Args:
    trie: of the items.
    leaves_BK: codes, as states of the trie's last depth.
    there_BK: which of them count.
    query_BKD: of each beam.
    vectors_RD: of all items.
    allowed: items that each request may get; None = all.
    num_neighbors: N, at most the largest cluster.
    scale: multiplies a cosine.
  """
  low_BK = trie.first_item[-1][leaves_BK]
  count_BK = jnp.where(there_BK, count_items(trie, leaves_BK, allowed), 0)
  nth_G = jnp.arange(trie.max_group, dtype=jnp.int32)
  kept = min(num_neighbors, trie.max_group)

  def of_beam(beam):
    low_B, count_B, query_BD = beam
    there_BG = nth_G[None, :] < count_B[:, None]
    low_BG = jnp.broadcast_to(low_B[:, None], there_BG.shape)
    nth_BG = jnp.broadcast_to(nth_G[None, :], there_BG.shape)
    ids_BG = trie.items_N[nth_item(trie, low_BG, nth_BG, allowed)]
    cosines_BG = jnp.einsum(
      "BD,BGD->BG",
      l2_normalize(query_BD.astype(jnp.float32)),
      l2_normalize(vectors_RD[ids_BG].astype(jnp.float32)),
      precision=SCORES,
    )
    scores_BG = jnp.where(there_BG, scale * cosines_BG, -jnp.inf)
    columns_BN, near_BN = top_k(scores_BG, kept)
    ids_BN = jnp.take_along_axis(ids_BG, columns_BN, axis=1)
    ids_BN = jnp.where(near_BN > -jnp.inf, ids_BN, 0)
    return Near(ids_BN, near_BN, jax.nn.logsumexp(scores_BG, axis=1))

  by_beam = (low_BK, count_BK, query_BKD)
  by_beam = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), by_beam)
  found = jax.lax.map(of_beam, by_beam)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)
