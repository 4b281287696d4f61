# SPDX-License-Identifier: Apache-2.0
"""One sequence of typed tokens, one decoder: items, and what comes of them.

    x_t = E[token_t]          tokens of a grammar (data/token_grammar.py)
    p(token_t+1 | ..t) = softmax over the tokens of the next TYPE of
                         <h_t, E[c]> / sqrt(D)    tied;  <h_t, F[c]> where not

The grammar knows the type that comes next, so no probability is spent on it.
Three uses of one checkpoint:

    __call__         log p of every label of packed rows            training
    start, step      an item's codes behind a prompt, by level      retrieval
    score            the action behind a candidate's tokens         ranking

and two ways to make lists. `open_list`, `consider`, `place`: of candidates,
those of most value behind what was placed, with an action assumed of it
(ranking/assumed_lists.py). `begin_lists`, `next_item`: written freely, code by
code (decoding/lists.py). Candidates and lists are beams of one prompt, so none
sees another. Where the automaton of the grammar allows no such token, logits
are -inf and probabilities NaN, which searches refuse.

Source: the sheet of a design without experiments; several details are ours: a
softmax per type, tied tables, beams for candidates.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.models.typed_token_reader import TokenCache, TypedTokenReader
from genrec_jax.ops.action_masks import task_logits
from genrec_jax.ops.typed_softmax import typed_log_probs


class TokenBaseline(TypedTokenReader):
  """See the module docstring."""

  # It is trained on whole histories.
  list_size = NO_LIMIT

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Hidden states (B, L, D), and of every label its log-probability.

    In aux: label_log_p_BL, 0 where nothing is asked, and types, the number of
    each type by its name.
    """
    info = SequenceInfo.from_batch(batch)
    x_BLD = self._embed(batch["token_BL"], info)
    x_BLD = self.input_dropout(x_BLD, deterministic=deterministic)
    h_BLD = self.backbone(x_BLD, info, deterministic=deterministic)
    kinds = range(len(self.grammar.types))
    most_K = [self.grammar.most(kind, h_BLD.shape[1]) for kind in kinds]
    log_p_BL = typed_log_probs(
      h_BLD,
      batch["label_BL"],
      batch["label_type_BL"],
      self.tokens.logits,
      self.grammar.start_K.tolist(),
      most_K,
    )
    names = {
      self.grammar.types[kind].name.replace(" ", "_"): jnp.int32(kind)
      for kind in kinds
      if most_K[kind]
    }
    return Outputs(
      hidden=h_BLD, aux={"label_log_p_BL": log_p_BL, "types": names}
    )

  # Retrieval: decoding/decoder.py.

  def start(self, batch: Batch) -> tuple[TokenCache, Float[Array, "B C"]]:
    """Cache of the prompts, one per row, and logits of the first level.

    Raises:
      ValueError: a grammar that tells of an item before its codes.
    """
    self._check_searched()
    cache = self.open(batch, len(self.level_sizes) - 1)
    level = self.grammar.group("level")[0]
    return cache, self.next_logits(cache, level)[:, 0]

  def step(
    self,
    cache: TokenCache,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[TokenCache, Float[Array, "B K C"]]:
    """Logits of a level after each beam's code of the level before."""
    kinds = self.grammar.group("level")
    token_BK = codes_BK + self.grammar.types[kinds[level - 1]].start
    cache = self.read(cache.pick(parents_BK), token_BK)
    return cache, self.next_logits(cache, kinds[level])

  # Lists that are written freely: decoding/lists.py.

  def begin_lists(
    self, batch: Batch, num_lists: int, list_size: int
  ) -> tuple[TokenCache, Int[Array, "B K"]]:
    """See core/model_seams.py: ListModel.

    Raises:
      ValueError: as `start`.
    """
    self._check_searched()
    cache = self.open(batch, list_size * len(self.grammar.block))
    none_BK = jnp.zeros((cache.state_BK.shape[0], num_lists), jnp.int32)
    return cache.pick(none_BK), none_BK

  def next_item(
    self,
    cache: TokenCache,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
    behind: Bool[Array, ""],
  ) -> tuple[TokenCache, Float[Array, "B K C"]]:
    """See core/model_seams.py: ListModel.

    Of the item before, whose last code this reads first, nothing else is told,
    for nobody has looked it up, and its most likely action is assumed.
    """
    levels = self.grammar.group("level")
    start_K = self.grammar.start_K
    token_BK = codes_BK + int(start_K[levels[-1]])
    cache = self.read(cache.pick(parents_BK), token_BK, there=behind)
    for kind in self.grammar.group("extra"):
      untold_BK = jnp.full_like(token_BK, int(start_K[kind]))
      cache = self.read(cache, untold_BK, there=behind)
    for kind in self.grammar.group("action"):
      known_BKC = self.next_logits(cache, kind)[..., 1:]
      likely_BK = jnp.argmax(known_BKC, axis=-1).astype(jnp.int32)
      token_BK = likely_BK + int(start_K[kind]) + 1
      cache = self.read(cache, token_BK, there=behind)
    return cache, self.next_logits(cache, levels[0])

  # Ranking.

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of every task behind each candidate; 0 at padding."""
    more = len(self.grammar.block) - 1
    cache = self.consider(self.open(batch, more), batch["candidate_token_BNT"])
    logits_BNT = task_logits(self.action_log_probs(cache))
    return jnp.where(batch["candidate_BN"][:, :, None] > 0, logits_BNT, 0.0)

  def action_log_probs(self, cache: TokenCache) -> Float[Array, "B K masks"]:
    """log P of every combination of actions, known ones, behind each beam."""
    kinds = self.grammar.group("action")
    if self.grammar.combined:
      return self._known_log_probs(cache, kinds[0])
    rows, beams = cache.state_BK.shape
    log_p_BKP = jnp.zeros((rows, beams, 1))
    for place, kind in enumerate(kinds):
      paths = log_p_BKP.shape[2]
      # no and yes behind each combination of the tasks before.
      told = self._known_log_probs(cache, kind).reshape(rows, beams, paths, 2)
      log_p_BKP = jnp.concatenate(
        [log_p_BKP + told[..., 0], log_p_BKP + told[..., 1]], axis=2
      )
      if place + 1 == len(kinds):
        break
      beam = jnp.arange(beams)[:, None] * paths
      beam = beam + jnp.arange(2 * paths)[None, :] % paths
      did = jnp.arange(2 * paths) // paths
      token = self.grammar.types[kind].start + 1 + jnp.tile(did, beams)
      shape = (rows, beams * 2 * paths)
      cache = cache.pick(jnp.broadcast_to(beam.reshape(1, -1), shape))
      cache = self.read(cache, jnp.broadcast_to(token[None], shape))
    return log_p_BKP

  # Lists: ranking/assumed_lists.py.

  def open_list(self, batch: Batch, places: int) -> TokenCache:
    """One beam behind each prompt, with room for so many items."""
    return self.open(batch, places * len(self.grammar.block))

  def consider(
    self, cache: TokenCache, token_BNT: Int[Array, "B N T"]
  ) -> TokenCache:
    """N beams that read a candidate's tokens each, behind the one there is."""
    beam_BN = jnp.zeros(token_BNT.shape[:2], jnp.int32)
    cache = cache.pick(beam_BN)
    for place in range(token_BNT.shape[2]):
      cache = self.read(cache, token_BNT[:, :, place])
    return cache

  def place(
    self,
    cache: TokenCache,
    chosen_B: Int[Array, "B"],
    assume: Callable[[Float[Array, "B 1 C"], int], Float[Array, "B 1 C"]],
  ) -> TokenCache:
    """One beam: a considered candidate, and what is assumed to come of it.

    Args:
      cache: of `consider`.
      chosen_B: which candidate.
      assume: (logits of an action's tokens, number of the token) -> how much
        of each is read; the first stands for what is not known.
    """
    cache = cache.pick(chosen_B[:, None])
    for number, kind in enumerate(self.grammar.group("action")):
      weight_B1C = assume(self.next_logits(cache, kind), number)
      size = self.grammar.types[kind].size
      table_CD = self.tokens(jnp.arange(size), kind)
      y_B1D = jnp.einsum("bkc,cd->bkd", weight_B1C, table_CD)
      token_B1 = self.grammar.types[kind].start + jnp.argmax(weight_B1C, -1)
      cache = self.read(cache, token_B1, y_B1D)
    return cache

  def _check_searched(self):
    if self.grammar.extras_first and self.grammar.extras:
      raise ValueError(
        "a grammar with extras_first asks for an item's extras before its"
        " codes, so that no item can be searched: it is a control for leaks"
        " and scores given items alone. Set extras_first=False to search."
      )

  def _known_log_probs(self, cache, kind):
    """Of an action's tokens but the first, which stands for not known."""
    return jax.nn.log_softmax(self.next_logits(cache, kind)[..., 1:])
