# SPDX-License-Identifier: Apache-2.0
"""Lists of items, each item within the trie and none twice in its list.

    log p(list) = sum over items j, levels m of  log p(c_jm | all before)
    beam_lists     the K best lists that K beams find
    sample_lists   K lists drawn, codes by p^(1 / T) and top-p as in sampling.py

All K lists of a request are at the same place of the same item. A code is
possible while an allowed item that its list does not have lies below it, so
that every list can go on; of items that share all codes the lowest id comes
first. Where a request has fewer items than places, lists end there with id 0.
Scores are the model's own, not renormalised over what is possible; a wide
enough beam is an enumeration of all lists.

One lax.scan over items holds M steps and the begin token. Memory: the cache of
K lists, (B, K, C) logits, and (B, K, J, candidates) comparisons.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.seams import StepModel
from genrec_jax.decoding.candidates import best_candidates, candidates, nth_item
from genrec_jax.decoding.decoder import log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.sampling import draw, temperatures_of
from genrec_jax.decoding.trie import Trie


@runtime_checkable
class ListDecoder(StepModel, Protocol):
  """A model that has read its requests and writes lists."""

  def begin_lists(
    self, num_lists: int, list_size: int
  ) -> tuple[Any, Int[Array, "B K"]]:
    """Empty lists of every request, as of a ListModel."""

  def next_item(
    self,
    cache: Any,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
    behind: Bool[Array, ""],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See core/model_seams.py: ListModel."""


class Lists(NamedTuple):
  """Lists of every request.

  Attributes:
    ids_BKJ: items in their order; 0 where a list has ended.
    scores_BK: log p(list); -inf where there is no such list.
    up_to_BKJ: log p of the list as far as each item.
    codes_BKJM: 0 where a list has ended.
  """

  ids_BKJ: Int[Array, "B K J"]
  scores_BK: Float[Array, "B K"]
  up_to_BKJ: Float[Array, "B K J"]
  codes_BKJM: Int[Array, "B K J M"]


def beam_lists(
  decoder: ListDecoder,
  trie: Trie,
  num_lists: int,
  list_size: int,
  allowed: ItemBits | None = None,
) -> Lists:
  """The best lists found, best first; with one beam the greedy list.

  Lists are sequences: two orders of the same items are two lists.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    num_lists: K, lists kept at every code, and returned.
    list_size: J.
    allowed: items that each request may get; None = all.

  Raises:
    ValueError: no lists, or a decoder of other level sizes than the trie.
  """

  def choose(place, scores_BK, logp_BKJ):
    del place
    return best_candidates(scores_BK, logp_BKJ, num_lists)

  # One empty list is there at first; its places are for those it becomes.
  first_K = jnp.where(jnp.arange(num_lists) > 0, -jnp.inf, 0.0)
  return _lists(decoder, trie, first_K, list_size, allowed, choose)


def sample_lists(
  decoder: ListDecoder,
  trie: Trie,
  keys_B: Key[Array, "B"],
  num_lists: int,
  list_size: int,
  *,
  temperature: float | Sequence[float] = 1.0,
  top_p: float = 1.0,
  allowed: ItemBits | None = None,
) -> Lists:
  """Lists drawn one by one; their scores are those of temperature 1.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    keys_B: a typed key per request; draws do not depend on the batch.
    num_lists: K, draws per request.
    list_size: J.
    temperature: T > 0, one for all levels or one for each.
    top_p: P in (0, 1]; 1 keeps all codes.
    allowed: items that each request may get; None = all.

  Raises:
    ValueError: a temperature, top_p or number of lists outside its range.
  """
  temperatures = temperatures_of(temperature, trie.num_levels)
  if not 0 < top_p <= 1:
    raise ValueError(f"top_p is {top_p}; it lies in (0, 1].")
  levels = trie.num_levels

  def choose(place, scores_BK, logp_BKJ):
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys_B, place)
    by_level = jnp.array(temperatures)[place % levels]
    columns_BK = jax.vmap(draw, (0, 0, None, None))(
      keys, logp_BKJ, by_level, top_p
    )
    gained_BK = jnp.take_along_axis(logp_BKJ, columns_BK[..., None], axis=2)
    own_BK = jnp.broadcast_to(jnp.arange(num_lists), scores_BK.shape)
    return own_BK, columns_BK, scores_BK + gained_BK[..., 0]

  first_K = jnp.zeros(num_lists)
  return _lists(decoder, trie, first_K, list_size, allowed, choose)


def _lists(
  decoder: ListDecoder,
  trie: Trie,
  first_K: Float[Array, "K"],
  list_size: int,
  allowed: ItemBits | None,
  choose: Callable[..., tuple[Array, Array, Array]],
) -> Lists:
  """Lists whose codes `choose` takes; they start with scores first_K."""
  if len(first_K) < 1 or list_size < 1:
    raise ValueError(
      f"{len(first_K)} lists of {list_size} items: there is at least one of"
      " both."
    )
  levels, nowhere = trie.num_levels, trie.items_N.shape[0]
  cache, none_BK = decoder.begin_lists(len(first_K), list_size)
  shape = none_BK.shape
  start = (
    cache,
    jnp.broadcast_to(first_K.astype(jnp.float32), shape),
    jnp.full((*shape, list_size), nowhere, jnp.int32),
    jnp.zeros((*shape, list_size), jnp.float32),
    none_BK,
    none_BK,
  )

  def item(carry, j):
    cache, scores_BK, places_BKJ, up_to_BKJ, codes_BK, parents_BK = carry
    cache, logits_BKC = decoder.next_item(cache, codes_BK, parents_BK, j > 0)
    states_BK = jnp.zeros_like(none_BK)
    ended_BK = jnp.zeros(shape, bool)
    for level in range(levels):
      if level:
        cache, logits_BKC = decoder.step(cache, level, codes_BK, parents_BK)
      logp_BKC = log_probs(logits_BKC, level, trie.level_sizes)
      logp_BKJ = candidates(
        trie, level, states_BK, logp_BKC, allowed, places_BKJ
      )
      if not level:
        ended_BK = jnp.all(logp_BKJ == -jnp.inf, axis=2)
      # Of a list that has ended the first column goes on, at no cost.
      column_J = jnp.arange(logp_BKJ.shape[2])
      none_J = jnp.where(column_J > 0, -jnp.inf, 0.0)
      logp_BKJ = jnp.where(ended_BK[..., None], none_J[None, None], logp_BKJ)
      parents_BK, columns_BK, scores_BK = choose(
        j * levels + level, scores_BK, logp_BKJ
      )
      states_BK, ended_BK, places_BKJ, up_to_BKJ = (
        _rows(x, parents_BK)
        for x in (states_BK, ended_BK, places_BKJ, up_to_BKJ)
      )
      states_BK = trie.child(level, states_BK, columns_BK)
      codes_BK = trie.code[level][states_BK]
    low_BK = trie.first_item[-1][states_BK]
    high_BK = trie.first_item[-1][states_BK + 1]
    # Of a leaf's items the first are taken, in order.
    mine_BKJ = places_BKJ >= low_BK[..., None]
    mine_BKJ = mine_BKJ & (places_BKJ < high_BK[..., None])
    nth_BK = jnp.sum(mine_BKJ, axis=2, dtype=jnp.int32)
    place_BK = nth_item(trie, low_BK, nth_BK, allowed)
    gone_BK = ended_BK | (scores_BK == -jnp.inf)
    place_BK = jnp.where(gone_BK, nowhere, place_BK)
    places_BKJ = places_BKJ.at[:, :, j].set(place_BK)
    up_to_BKJ = up_to_BKJ.at[:, :, j].set(scores_BK)
    carry = cache, scores_BK, places_BKJ, up_to_BKJ, codes_BK, parents_BK
    return carry, None

  (_, scores_BK, places_BKJ, up_to_BKJ, *_), _ = jax.lax.scan(
    item, start, jnp.arange(list_size)
  )
  there_BKJ = (places_BKJ < nowhere) & (scores_BK > -jnp.inf)[..., None]
  ids_BKJ = trie.items_N[jnp.minimum(places_BKJ, nowhere - 1)]
  ids_BKJ = jnp.where(there_BKJ, ids_BKJ, 0)
  codes_BKJM = trie.codes(trie.leaves(ids_BKJ))
  return Lists(
    ids_BKJ,
    jnp.where(there_BKJ[:, :, 0], scores_BK, -jnp.inf),
    jnp.where(there_BKJ, up_to_BKJ, -jnp.inf),
    jnp.where(there_BKJ[..., None], codes_BKJM, 0),
  )


def _rows(x, parents_BK):
  """Of every list what its parent has."""
  index = parents_BK.reshape(*parents_BK.shape, *(1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, index, axis=1)
