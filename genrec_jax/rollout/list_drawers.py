# SPDX-License-Identifier: Apache-2.0
"""How samples are drawn of a model that writes lists of items.

    SampledLists   draws lists through the trie, each for itself
    BestLists      the best lists that beams find, all different

A sample is a list of N items with their N M codes (decoding/lists.py). Of a
list that ends early the places behind its end have item 0 and do not count.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.core.types import Drawn
from genrec_jax.decoding.list_log_probs import list_log_probs
from genrec_jax.decoding.lists import Lists, beam_lists, sample_lists
from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.unconstrained import legal_share
from genrec_jax.retrieval.beam_lists import ListsOf
from genrec_jax.retrieval.strategy import BoundModel


@dataclasses.dataclass(frozen=True)
class _FirstItem:
  """A decoder of the first item of a list (decoding/decoder.py)."""

  lists: ListsOf

  def start(self) -> tuple[Any, Float[Array, "G C"]]:
    """An empty list of each request, and logits of its first code."""
    cache, none_G1 = self.lists.begin_lists(1, 1)
    behind = jnp.array(False)
    cache, logits_G1C = self.lists.next_item(cache, none_G1, none_G1, behind)
    return cache, logits_G1C[:, 0]

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See decoding/decoder.py."""
    return self.lists.step(cache, level, codes_BK, parents_BK)


@dataclasses.dataclass(frozen=True)
class OfLists:
  """What drawers of lists share.

  Attributes:
    num_samples: K.
    list_size: N, items of a list.
  """

  num_samples: int
  list_size: int

  within_trie: ClassVar[bool] = True

  def __post_init__(self):
    check_counts(self, "config.rollout.drawer", "num_samples", "list_size")

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a model writes no lists, or shorter ones."""
    seams.require(system, seams.ListModel, "config.system")
    if self.list_size > system.list_size:
      raise ValueError(
        f"config.rollout.drawer.list_size={self.list_size} is more than the"
        f" {system.list_size} items that config.system is made to write."
      )

  def log_probs(
    self,
    decoder: Any,
    codes_GKT: Int[Array, "G K T"],
    level_sizes: tuple[int, ...],
  ) -> Float[Array, "G K T"]:
    """Of the codes of lists, by decoding/list_log_probs.py.

    Raises:
      ValueError: probabilities over the codes that lead to an item: which do
        depends on the items before.
    """
    if not isinstance(decoder, BoundModel):
      raise ValueError(
        "config.rollout.over_children is of single items: set it to False for"
        " lists, whose log-probabilities go over all codes."
      )
    return list_log_probs(ListsOf(decoder), codes_GKT, level_sizes)

  def legal_share(self, decoder: BoundModel, trie: Trie) -> Float[Array, "G"]:
    """Of beams over all codes of a first item, how many are an item's."""
    return legal_share(_FirstItem(ListsOf(decoder)), trie, self.num_samples)

  def codes_of(
    self, trie: Trie, item_GKN: Int[Array, "G K N"]
  ) -> Int[Array, "G K T"]:
    """The codes of items, one behind the other."""
    codes_GKNM = trie.codes(trie.leaves(item_GKN))
    return codes_GKNM.reshape(*item_GKN.shape[:2], -1)


@dataclasses.dataclass(frozen=True)
class SampledLists(OfLists):
  """Draws through the trie; a list may come twice.

  Attributes:
    temperature: of all levels, or of each.
    top_p: mass of the codes that are drawn from; 1 = all.
  """

  temperature: float | Sequence[float] = 1.0
  top_p: float = 1.0

  def __post_init__(self):
    super().__post_init__()
    check_positive(self, "config.rollout.drawer", "top_p")

  def __call__(
    self, decoder: BoundModel, trie: Trie, rng: Key[Array, ""]
  ) -> Drawn:
    """See core/rollout_seams.py: Drawer."""
    lists = ListsOf(decoder)
    begun = jax.eval_shape(lambda: lists.begin_lists(1, 1)[1])
    return _drawn(
      sample_lists(
        lists,
        trie,
        jax.random.split(rng, begun.shape[0]),
        self.num_samples,
        self.list_size,
        temperature=self.temperature,
        top_p=self.top_p,
      )
    )


@dataclasses.dataclass(frozen=True)
class BestLists(OfLists):
  """The best lists that `num_samples` beams find; nothing is drawn."""

  def __call__(
    self, decoder: BoundModel, trie: Trie, rng: Key[Array, ""]
  ) -> Drawn:
    """See core/rollout_seams.py: Drawer."""
    del rng
    lists = ListsOf(decoder)
    return _drawn(beam_lists(lists, trie, self.num_samples, self.list_size))


def _drawn(lists: Lists) -> Drawn:
  codes_GKT = lists.codes_BKJM.reshape(*lists.ids_BKJ.shape[:2], -1)
  there_GK = (lists.ids_BKJ[:, :, 0] > 0) & jnp.isfinite(lists.scores_BK)
  return Drawn(lists.ids_BKJ, codes_GKT, there_GK)
