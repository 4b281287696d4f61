# SPDX-License-Identifier: Apache-2.0
"""How a search goes on: candidates of a level, the best of them, their items.

    candidates        (B, K) states -> (B, K, J) log-probs, -inf: not possible
    best_candidates   the k best sums of score and log-prob over all K x J
    items_of          leaves, best first -> items, best first

J is the trie's width at a level: all codes where it has a dense table, the
largest branching where it has not. With a mask a candidate is possible if an
allowed item lies below it, so every beam that is kept leads to one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.top_k import top_k


def candidates(
  trie: Trie,
  level: int,
  states_BK: Int[Array, "B K"],
  logp_BKC: Float[Array, "B K C"],
  allowed: ItemBits | None = None,
  taken_BKT: Int[Array, "B K T"] | None = None,
) -> Float[Array, "B K J"]:
  """Log-probabilities of the codes that each state can continue with.

  Args:
    trie: of the items.
    level: of the codes.
    states_BK: where each beam stands.
    logp_BKC: of all codes.
    allowed: items that count; None = all.
    taken_BKT: different places in trie order, of allowed items that a beam may
      not end at again; the number of places stands for none. None = none.
  """
  edges_BKE = trie.edges(level, states_BK)
  logp_BKJ = logp_BKC
  if level >= len(trie.dense):
    last = trie.num_states(level + 1) - 1
    children_BKJ = jnp.minimum(edges_BKE[..., :-1], last)
    codes_BKJ = trie.code[level][children_BKJ]
    logp_BKJ = jnp.take_along_axis(logp_BKC, codes_BKJ, axis=2)
  if allowed is not None or taken_BKT is not None:
    # Counts of allowed items at the same edges: of what lies below, only
    # where a candidate begins and ends matters.
    places_BKE = edges_BKE = trie.first_item[level + 1][edges_BKE]
    if allowed is not None:
      edges_BKE = allowed.count_before(places_BKE)
    if taken_BKT is not None:
      taken_BKTE = taken_BKT[..., None] < places_BKE[:, :, None]
      edges_BKE = edges_BKE - jnp.sum(taken_BKTE, axis=2, dtype=jnp.int32)
  possible_BKJ = edges_BKE[..., 1:] > edges_BKE[..., :-1]
  return jnp.where(possible_BKJ, logp_BKJ, -jnp.inf)


def best_candidates(
  scores_BK: Float[Array, "B K"],
  logp_BKJ: Float[Array, "B K J"],
  k: int,
) -> tuple[Int[Array, "B k"], Int[Array, "B k"], Float[Array, "B k"]]:
  """Returns beam, column and score of the k best continuations, best first.

  Ties: the better beam first, then the lower column. Places without one have
  score -inf, beam 0 and column 0.
  """
  batch, _, width = logp_BKJ.shape
  sums_BKJ = scores_BK[:, :, None] + logp_BKJ
  flat_Bk, best_Bk = top_k(sums_BKJ.reshape(batch, -1), k)
  flat_Bk = jnp.where(best_Bk == -jnp.inf, 0, flat_Bk)
  return flat_Bk // width, flat_Bk % width, best_Bk


def items_of(
  trie: Trie,
  leaves_BK: Int[Array, "B K"],
  scores_BK: Float[Array, "B K"],
  codes_BKM: Int[Array, "B K M"],
  k: int,
  allowed: ItemBits | None = None,
) -> tuple[
  Int[Array, "B k"], Float[Array, "B k"], Int[Array, "B k {trie.num_levels}"]
]:
  """Returns ids, scores and codes of the first k items of distinct leaves.

  Leaves come best first and those of score -inf have no items. Items that
  share a leaf share its score. The order is (score descending, id).
  """
  low_BK = trie.first_item[-1][leaves_BK]
  count_BK = count_items(trie, leaves_BK, allowed)
  count_BK = jnp.where(scores_BK > -jnp.inf, count_BK, 0)
  end_BK = jnp.cumsum(count_BK, axis=1)
  # Place j belongs to the first leaf whose end is beyond j.
  place_k = jnp.arange(k, dtype=jnp.int32)
  leaf_Bk = jax.vmap(
    lambda end_K: jnp.searchsorted(end_K, place_k, side="right")
  )(end_BK)
  there_Bk = place_k[None, :] < end_BK[:, -1:]
  leaf_Bk = jnp.minimum(leaf_Bk, leaves_BK.shape[1] - 1)

  def of_leaf(values):
    return jnp.take_along_axis(values, leaf_Bk, axis=1)

  nth_Bk = place_k[None, :] - of_leaf(end_BK - count_BK)
  ids_Bk = trie.items_N[nth_item(trie, of_leaf(low_BK), nth_Bk, allowed)]
  ids_Bk = jnp.where(there_Bk, ids_Bk, 0)
  scores_Bk = jnp.where(there_Bk, of_leaf(scores_BK), -jnp.inf)
  order_Bk = jnp.lexsort((ids_Bk, -scores_Bk), axis=1)
  codes_BkM = jnp.take_along_axis(
    codes_BKM, jnp.take_along_axis(leaf_Bk, order_Bk, axis=1)[..., None], axis=1
  )
  ids_Bk = jnp.take_along_axis(ids_Bk, order_Bk, axis=1)
  return (
    ids_Bk,
    jnp.take_along_axis(scores_Bk, order_Bk, axis=1),
    jnp.where((ids_Bk > 0)[..., None], codes_BkM, 0),
  )


def count_items(
  trie: Trie, leaves: Int[Array, "B *K"], allowed: ItemBits | None
) -> Int[Array, "B *K"]:
  """Allowed items that have exactly the codes of each leaf."""
  low = trie.first_item[-1][leaves]
  high = trie.first_item[-1][leaves + 1]
  if allowed is not None:
    low, high = allowed.count_before(low), allowed.count_before(high)
  return high - low


def nth_item(
  trie: Trie,
  low_BK: Int[Array, "B K"],
  nth_BK: Int[Array, "B K"],
  allowed: ItemBits | None,
) -> Int[Array, "B K"]:
  """Place in trie order of the n-th allowed item (0-based) of a leaf.

  Inside items_N, and without meaning, where the leaf has fewer.

  Args:
    trie: of the items.
    low_BK: where each leaf's items begin.
    nth_BK: which of them.
    allowed: items that count.
  """
  last = trie.items_N.shape[0] - 1
  if allowed is None:
    return jnp.clip(low_BK + nth_BK, 0, last)
  # Bisection for the last place before which no more than n are allowed, in
  # as many steps as the largest group of items asks for.
  before_BK = allowed.count_before(low_BK) + nth_BK
  high_BK = jnp.minimum(low_BK + trie.max_group, last + 1)
  for _ in range(trie.max_group.bit_length()):
    middle_BK = (low_BK + high_BK) // 2
    enough_BK = allowed.count_before(jnp.minimum(middle_BK + 1, last + 1))
    enough_BK = enough_BK > before_BK
    open_BK = low_BK < high_BK
    low_BK = jnp.where(open_BK & ~enough_BK, middle_BK + 1, low_BK)
    high_BK = jnp.where(open_BK & enough_BK, middle_BK, high_BK)
  return jnp.clip(low_BK, 0, last)
