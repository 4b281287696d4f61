# SPDX-License-Identifier: Apache-2.0
"""Best-first search: the exact k best items, without scoring them all.

    bound = the best score of a prefix whose continuations were not computed
    done  : k items have scores above it

Log-probabilities are at most 0, so a prefix bounds whatever continues it: with
ALL open prefixes in the queue, complete codes above the bound are the best
there are. How many rounds that takes depends on the model's certainty, so there
is a budget, and the result says whether it was enough.

A round takes the best `width` open prefixes of each request and goes on from
each greedily to complete codes: everything on the way is expanded as well. The
model holds no cache of all that is open; it steps the prefix anew, together
with its continuation, so a round costs M - 1 steps of `width` beams, and any
Decoder will do.

Memory: a queue (B, budget * width * J) for each level, of 8 bytes an entry; J
is the trie's width there.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.decoding.candidates import (
  best_candidates,
  candidates,
  count_items,
  items_of,
)
from genrec_jax.decoding.decoder import Decoder, log_probs
from genrec_jax.decoding.item_bits import ItemBits
from genrec_jax.decoding.trie import Trie
from genrec_jax.ops.top_k import top_k


class BestFirstFound(NamedTuple):
  """What the search found.

  Attributes:
    ids_Bk: items, best first; order and empty places as in beam_search.
    scores_Bk: their log p(codes).
    codes_BkM: their codes.
    exact_B: whether they are known to be the k best.
    rounds_B: rounds that the request took.
  """

  ids_Bk: Int[Array, "B k"]
  scores_Bk: Float[Array, "B k"]
  codes_BkM: Int[Array, "B k M"]
  exact_B: Bool[Array, "B"]
  rounds_B: Int[Array, "B"]


def best_first_search(
  decoder: Decoder,
  trie: Trie,
  k: int,
  *,
  budget: int,
  width: int = 1,
  allowed: ItemBits | None = None,
  greedy: bool = False,
) -> BestFirstFound:
  """Searches until the k best items are certain or the budget is spent.

  Args:
    decoder: the model, having read the requests.
    trie: of the items.
    k: items to return.
    budget: most rounds; all requests of a batch run until the last is done.
    width: prefixes per round and request; a wider round may expand more than
      was needed, but uses the hardware better.
    allowed: items that each request may get; None = all.
    greedy: stops as soon as k items are complete, certain or not.

  Raises:
    ValueError: k, budget or width below 1, or a decoder of other level sizes
      than the trie.
  """
  if min(k, budget, width) < 1:
    raise ValueError(
      f"k is {k}, budget {budget} and width {width}; each is at least 1"
    )
  search = _Search(decoder, trie, k, budget, width, allowed, greedy)
  queue = search.start()
  if trie.num_levels > 1:  # else the root's children are complete
    queue = jax.lax.while_loop(
      lambda queue: (queue.round < budget) & ~jnp.all(search.done(queue)),
      search.round,
      queue,
    )
  done_B = _certain(queue, k)
  leaf_Bk, scores_Bk = _best(queue.leaf_score_BT, k)
  leaf_Bk = jnp.take_along_axis(queue.leaf_BT, leaf_Bk, axis=1)
  ids, scores, codes = items_of(
    trie, leaf_Bk, scores_Bk, trie.codes(leaf_Bk), k, allowed
  )
  return BestFirstFound(ids, scores, codes, done_B, queue.rounds_B)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Queue:
  """Open prefixes and complete codes; -inf: no entry, or one taken out.

  Attributes:
    open_score_BT: scores of open prefixes, a region for each depth.
    open_BT: their states.
    leaf_score_BT: scores of complete codes.
    leaf_BT: their leaves.
    leaf_items_BT: allowed items of each.
    round: rounds so far.
    rounds_B: of them those in which the request took part.
  """

  open_score_BT: Array
  open_BT: Array
  leaf_score_BT: Array
  leaf_BT: Array
  leaf_items_BT: Array
  round: Array
  rounds_B: Array


@dataclasses.dataclass(frozen=True)
class _Search:
  """The fixed part of a search; names as in best_first_search."""

  decoder: Decoder
  trie: Trie
  k: int
  budget: int
  width: int
  allowed: ItemBits | None
  greedy: bool

  def done(self, queue: _Queue) -> Array:
    """Which requests need no further round."""
    done_B = _certain(queue, self.k)
    if self.greedy:
      found_BT = jnp.where(
        queue.leaf_score_BT > -jnp.inf, queue.leaf_items_BT, 0
      )
      done_B = done_B | (_saturating_sum(found_BT, self.k) >= self.k)
    return done_B

  def kept(self, level: int) -> int:
    """Children of a state that enter the queue.

    Of leaves the k best will do. Of prefixes all stay: the best item may lie
    below one that is not among the k best itself.
    """
    width = self.trie.width(level)
    last = level == self.trie.num_levels - 1
    return min(self.k, width) if last else width

  def offset(self, level: int) -> int:
    """Where prefixes of level + 1 codes begin among the open ones."""
    first = self.kept(0) if level > 0 else 0
    rows = self.budget * self.width
    return first + rows * sum(self.kept(m) for m in range(1, level))

  def start(self) -> _Queue:
    """The queue with the root's children."""
    trie = self.trie
    _, logits_BC = self.decoder.start()
    batch, last = logits_BC.shape[0], trie.num_levels - 1
    size = 1 if last == 0 else self.offset(last)
    leaves = self.budget * self.width * self.kept(last)
    queue = _Queue(
      open_score_BT=jnp.full((batch, size), -jnp.inf, jnp.float32),
      open_BT=jnp.zeros((batch, size), jnp.int32),
      leaf_score_BT=jnp.full((batch, leaves), -jnp.inf, jnp.float32),
      leaf_BT=jnp.zeros((batch, leaves), jnp.int32),
      leaf_items_BT=jnp.zeros((batch, leaves), jnp.int32),
      round=jnp.int32(0),
      rounds_B=jnp.zeros((batch,), jnp.int32),
    )
    zeros_BK = jnp.zeros((batch, 1), jnp.int32)
    logp_BKC = log_probs(logits_BC, 0, trie.level_sizes)[:, None]
    children = self.children(0, zeros_BK, jnp.zeros((batch, 1)), logp_BKC)
    return self.insert(queue, 0, *children)

  def children(
    self, level: int, states_BK: Array, scores_BK: Array, logp_BKC: Array
  ) -> tuple[Array, Array]:
    """The best children of states (B, K, kept) and their scores."""
    logp_BKJ = candidates(self.trie, level, states_BK, logp_BKC, self.allowed)
    batch, num_beams, num_codes = logp_BKJ.shape
    _, columns, scores = best_candidates(
      scores_BK.reshape(-1, 1),
      logp_BKJ.reshape(-1, 1, num_codes),
      self.kept(level),
    )
    columns = columns.reshape(batch, num_beams, -1)
    states_BKn = jnp.broadcast_to(states_BK[..., None], columns.shape)
    return (
      self.trie.child(level, states_BKn, columns),
      scores.reshape(batch, num_beams, -1),
    )

  def insert(
    self, queue: _Queue, level: int, states_BKn: Array, scores_BKn: Array
  ) -> _Queue:
    """The queue with children of `level` of this round."""
    batch = states_BKn.shape[0]
    states_BT = states_BKn.reshape(batch, -1)
    scores_BT = scores_BKn.reshape(batch, -1)
    # The root has one round to itself, before the first.
    start = 0 if level == 0 else queue.round * states_BT.shape[1]

    def put(old_BT, new_BT, offset):
      return jax.lax.dynamic_update_slice(old_BT, new_BT, (0, offset + start))

    if level == self.trie.num_levels - 1:
      items_BT = count_items(self.trie, states_BT, self.allowed)
      return dataclasses.replace(
        queue,
        leaf_score_BT=put(queue.leaf_score_BT, scores_BT, 0),
        leaf_BT=put(queue.leaf_BT, states_BT, 0),
        leaf_items_BT=put(queue.leaf_items_BT, items_BT, 0),
      )
    offset = self.offset(level)
    return dataclasses.replace(
      queue,
      open_score_BT=put(queue.open_score_BT, scores_BT, offset),
      open_BT=put(queue.open_BT, states_BT, offset),
    )

  def round(self, queue: _Queue) -> _Queue:
    """Takes the best open prefixes and completes them greedily."""
    trie, levels = self.trie, self.trie.num_levels
    active_B = ~self.done(queue)
    entry_BK, score_BK = _best(queue.open_score_BT, self.width)
    score_BK = jnp.where(active_B[:, None], score_BK, -jnp.inf)
    open_score_BT = _take_out(queue.open_score_BT, entry_BK, score_BK)
    queue = dataclasses.replace(queue, open_score_BT=open_score_BT)
    depth_BK, path = self.paths(queue, entry_BK)
    cache, _ = self.decoder.start()
    beams_K = jnp.arange(self.width, dtype=jnp.int32)
    state_BK = path[0]
    for level in range(1, levels):
      parents_BK = jnp.broadcast_to(beams_K[None] * (level > 1), entry_BK.shape)
      codes_BK = trie.code[level - 1][state_BK]
      cache, logits_BKC = self.decoder.step(cache, level, codes_BK, parents_BK)
      logp_BKC = log_probs(logits_BKC, level, trie.level_sizes)
      # Above the prefix its siblings are in the queue already.
      below_BK = depth_BK <= level
      at_BK = jnp.where(below_BK, score_BK, -jnp.inf)
      states_BKn, scores_BKn = self.children(level, state_BK, at_BK, logp_BKC)
      if level < levels - 1:
        score_BK = jnp.where(below_BK, scores_BKn[..., 0], score_BK)
        state_BK = jnp.where(below_BK, states_BKn[..., 0], path[level])
        # The greedy child is expanded next, so it is not open.
        scores_BKn = scores_BKn.at[..., 0].set(-jnp.inf)
      queue = self.insert(queue, level, states_BKn, scores_BKn)
    return dataclasses.replace(
      queue, round=queue.round + 1, rounds_B=queue.rounds_B + active_B
    )

  def paths(self, queue: _Queue, entry_BK: Array) -> tuple[Array, list[Array]]:
    """Depth of open prefixes, and their states of depth 1 to M - 1.

    States deeper than the prefix have no meaning.
    """
    levels = self.trie.num_levels
    open_BK = jnp.take_along_axis(queue.open_BT, entry_BK, axis=1)
    depth_BK = jnp.ones_like(entry_BK)
    for level in range(1, levels - 1):
      depth_BK = depth_BK + (entry_BK >= self.offset(level))
    path = [jnp.zeros_like(entry_BK)] * (levels - 1)
    for depth in range(1, levels):
      last = self.trie.num_states(depth) - 1
      # Numbers of another depth are clipped; nothing is read from them.
      states = self.trie.prefixes(depth, jnp.minimum(open_BK, last))
      for above, state_BK in enumerate(states):
        path[above] = jnp.where(depth_BK == depth, state_BK, path[above])
    return depth_BK, path


def _certain(queue: _Queue, k: int) -> Array:
  """Requests whose k best items are known: nothing open can beat them."""
  bound_B1 = jnp.max(queue.open_score_BT, axis=1, keepdims=True)
  found_BT = jnp.where(queue.leaf_score_BT > bound_B1, queue.leaf_items_BT, 0)
  enough_B = _saturating_sum(found_BT, k) >= k
  return enough_B | (bound_B1[:, 0] == -jnp.inf)


def _saturating_sum(counts_BT: Array, k: int) -> Array:
  """Sums in which no entry counts more than k."""
  return jnp.sum(jnp.minimum(counts_BT, k), axis=1)


def _best(scores_BT: Array, k: int) -> tuple[Array, Array]:
  """Columns and scores of the k best; column 0 where there is none."""
  columns_Bk, scores_Bk = top_k(scores_BT, k)
  return jnp.where(scores_Bk == -jnp.inf, 0, columns_Bk), scores_Bk


def _take_out(scores_BT: Array, entry_BK: Array, score_BK: Array) -> Array:
  """-inf at the entries, where they are any."""
  rows_BK = jnp.broadcast_to(
    jnp.arange(entry_BK.shape[0])[:, None], entry_BK.shape
  )
  # No entry: a column beyond the last, which is dropped.
  columns_BK = jnp.where(score_BK > -jnp.inf, entry_BK, scores_BT.shape[1])
  return scores_BT.at[rows_BK, columns_BK].set(-jnp.inf, mode="drop")
