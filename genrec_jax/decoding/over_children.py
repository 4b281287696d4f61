# SPDX-License-Identifier: Apache-2.0
"""A decoder whose probabilities are over the codes that lead to an item.

    p(c | prefix) = softmax over the children of the prefix in the trie

Around any other decoder (decoding/decoder.py), for any search: probabilities of
all items then sum to 1, and a code without an alternative is certain. For
models that are trained so (objectives/tokens.py: over_children). Children are
those of the whole trie, whatever items a request may get.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.trie import Trie

# Not -inf: where a beam stands nowhere all would be, and their softmax NaN.
_NO_CHILD = -1e9


@dataclasses.dataclass(frozen=True)
class ChildrenDecoder:
  """See the module docstring.

  Attributes:
    decoder: gives logits of all codes.
    trie: of the items.
  """

  decoder: Decoder
  trie: Trie

  def start(self) -> tuple[Any, Float[Array, "B C"]]:
    """See decoding/decoder.py."""
    cache, logits_BC = self.decoder.start()
    state_B1 = jnp.zeros((logits_BC.shape[0], 1), jnp.int32)
    there_BC = children(self.trie, 0, state_B1)[:, 0]
    return (cache, state_B1), jnp.where(there_BC, logits_BC, _NO_CHILD)

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See decoding/decoder.py."""
    inner, state_BK = cache
    state_BK = jnp.take_along_axis(state_BK, parents_BK, axis=1)
    state_BK, _ = self.trie.follow(level - 1, state_BK, codes_BK)
    inner, logits_BKC = self.decoder.step(inner, level, codes_BK, parents_BK)
    there_BKC = children(self.trie, level, state_BK)
    logits_BKC = jnp.where(there_BKC, logits_BKC, _NO_CHILD)
    return (inner, state_BK), logits_BKC


def children(
  trie: Trie, level: int, state_BK: Int[Array, "B K"]
) -> Bool[Array, "B K C"]:
  """Which codes of a level lead on from states of that depth."""
  edges_BKE = trie.edges(level, state_BK)
  there_BKJ = edges_BKE[..., 1:] > edges_BKE[..., :-1]
  if level < len(trie.dense):
    return there_BKJ
  last = trie.num_states(level + 1) - 1
  code_BKJ = trie.code[level][jnp.minimum(edges_BKE[..., :-1], last)]
  batch, beams, _ = code_BKJ.shape
  found_BKC = jnp.zeros((batch, beams, trie.level_sizes[level]), bool)
  rows, columns = jnp.arange(batch), jnp.arange(beams)
  return found_BKC.at[
    rows[:, None, None], columns[None, :, None], code_BKJ
  ].max(there_BKJ)
