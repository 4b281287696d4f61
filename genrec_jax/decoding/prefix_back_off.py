# SPDX-License-Identifier: Apache-2.0
"""Lists that few beams fill: what they found, then what shares their prefixes.

    1. items of the K beams, best beam first
    2. items below the beams' prefixes of M - 1 codes, best beam first
    3. ... of M - 2 codes, and so on to the empty prefix, which all items share

Within a prefix items come in the order of the trie. A list is thus short only
where a request may get no more items, whatever the number of beams; what a wide
beam costs a model is saved, and the model is not asked about what fills up. The
scores of the parts cannot be compared, so a result's score is minus its rank.
How many codes an item shares with the beam that brought it is said beside it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.decoding.beam import Beams, beam_leaves
from genrec_jax.decoding.candidates import items_of
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie


def prefix_back_off(
  decoder: Decoder,
  trie: Trie,
  num_beams: int,
  num_results: int,
  allowed: ItemBits | None = None,
) -> tuple[
  Int[Array, "B {num_results}"],
  Float[Array, "B {num_results}"],
  Int[Array, "B {num_results} {trie.num_levels}"],
  Int[Array, "B {num_results}"],
]:
  """Returns ids, scores (minus the rank), codes and depths, best first.

  A depth is M for items of the beams, and -1 where there is no item.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    num_beams: K, of prefixes kept.
    num_results: items returned; id 0 and score -inf where there are fewer.
    allowed: items that each request may get; None = all.

  Raises:
    ValueError: as beam_search.
  """
  beams = beam_leaves(decoder, trie, num_beams, allowed)
  found_BR, _, _ = items_of(
    trie,
    beams.leaves_BK,
    beams.scores_BK,
    beams.codes_BKM,
    num_results,
    allowed,
  )
  left_BN = (trie.items_N > 0)[None, :] & ~_listed(trie, found_BR)
  if allowed is not None:
    left_BN = left_BN & allowed.at(jnp.arange(left_BN.shape[1]))
  order_BN = jnp.where(left_BN, _nearness(trie, beams), -1)
  count = min(num_results, order_BN.shape[1])
  nearness_BR, place_BR = jax.lax.top_k(order_BN, count)
  more_BR = jnp.where(nearness_BR >= 0, trie.items_N[place_BR], 0)
  depth_BR = jnp.maximum(nearness_BR, 0) // _depth_worth(beams)
  # Behind what was found: sorting is stable.
  both = jnp.concatenate([found_BR, more_BR], axis=1)
  first = jnp.argsort(both == 0, axis=1)[:, :num_results]
  ids_BR = jnp.take_along_axis(both, first, axis=1)
  depths = jnp.full_like(found_BR, trie.num_levels)
  depths = jnp.concatenate([depths, depth_BR], axis=1)
  depth_BR = jnp.take_along_axis(depths, first, axis=1)
  rank_R = jnp.arange(1, num_results + 1, dtype=jnp.float32)
  codes_BRM = trie.codes(trie.leaves(ids_BR))
  return (
    ids_BR,
    jnp.where(ids_BR > 0, -rank_R[None], -jnp.inf),
    jnp.where((ids_BR > 0)[..., None], codes_BRM, 0),
    jnp.where(ids_BR > 0, depth_BR, -1),
  )


def _depth_worth(beams: Beams) -> int:
  """What a code more is worth: more than the best of all beams."""
  return beams.leaves_BK.shape[1] + 1


def _nearness(trie: Trie, beams: Beams) -> Int[Array, "B N"]:
  """Of every place of the trie: the longer and the better a prefix of it."""
  batch, width = beams.leaves_BK.shape
  states = trie.prefixes(trie.num_levels, beams.leaves_BK)
  live_BK = beams.scores_BK > -jnp.inf
  place_N = jnp.arange(trie.items_N.shape[0], dtype=jnp.int32)
  row_B1 = jnp.arange(batch)[:, None]
  # A beam's worth: K for the best, 1 for the last, 0 for what is none.
  worth_BK = jnp.where(live_BK, width - jnp.arange(width)[None, :], 0)
  found_BN = jnp.zeros((batch, len(place_N)), jnp.int32)
  for depth in range(1, trie.num_levels + 1):
    worth_BS = jnp.zeros((batch, trie.num_states(depth)), jnp.int32)
    worth_BS = worth_BS.at[row_B1, states[depth - 1]].max(worth_BK)
    state_N = jnp.searchsorted(
      trie.first_item[depth][1:], place_N, side="right"
    )
    worth_BN = worth_BS[:, jnp.minimum(state_N, worth_BS.shape[1] - 1)]
    deeper_BN = depth * _depth_worth(beams) + worth_BN
    found_BN = jnp.where(worth_BN > 0, deeper_BN, found_BN)
  return found_BN


def _listed(trie: Trie, ids_BR: Int[Array, "B R"]) -> Bool[Array, "B N"]:
  """Which places of the trie are among the ids."""
  places_BR = trie.place_V1[ids_BR]
  size = trie.items_N.shape[0]
  # Without a place, as 0 has none: beyond the end, which is dropped.
  places_BR = jnp.where(places_BR < 0, size, places_BR)
  listed_BN = jnp.zeros((len(ids_BR), size), bool)
  row_B1 = jnp.arange(len(ids_BR))[:, None]
  return listed_BN.at[row_B1, places_BR].set(True, mode="drop")
