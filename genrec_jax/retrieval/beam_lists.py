# SPDX-License-Identifier: Apache-2.0
"""Whole lists of a model that writes them, searched by beams.

    search(requests, k, allowed) -> the items of the best list, in its order

A list is a sequence of different items (decoding/lists.py); an item's score is
log p of the list as far as that item, so it falls from place to place. Places
behind the list's end are empty, whatever k is.
"""

import dataclasses
from typing import Any, ClassVar

from jaxtyping import Array, Bool, Float, Int, UInt32

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.decoding.item_bits import of_ids
from genrec_jax.decoding.lists import Lists, beam_lists
from genrec_jax.retrieval.strategy import BoundModel, Found, SearchItems


@dataclasses.dataclass(frozen=True)
class ListsOf:
  """A bound model as a ListDecoder (decoding/lists.py).

  Attributes:
    model: that has read the requests.
  """

  model: BoundModel

  def begin_lists(
    self, num_lists: int, list_size: int
  ) -> tuple[Any, Int[Array, "B K"]]:
    """See ListDecoder."""
    model = self.model
    return model.ask("begin_lists", model.batch, num_lists, list_size)

  def next_item(
    self,
    cache: Any,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
    behind: Bool[Array, ""],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See ListDecoder."""
    return self.model.ask("next_item", cache, codes_BK, parents_BK, behind)

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See decoding/decoder.py."""
    return self.model.step(cache, level, codes_BK, parents_BK)


@dataclasses.dataclass(frozen=True)
class BeamLists:
  """See the module docstring.

  Attributes:
    list_size: J, items of a list.
    num_beams: lists kept at every code; 1 = greedy.
  """

  list_size: int = 5
  num_beams: int = 20

  needs: ClassVar[tuple[type, ...]] = (seams.ListModel,)

  def __post_init__(self):
    check_counts(self, "config.retrieval", "list_size", "num_beams")

  @property
  def num_results(self) -> int:
    """Items of a list."""
    return self.list_size

  def lists(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Lists:
    """All lists that are kept, best first."""
    bits = None if allowed_BW is None else of_ids(items.trie, allowed_BW)
    decoder = ListsOf(model)
    return beam_lists(decoder, items.trie, self.num_beams, self.list_size, bits)

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """See Strategy."""
    found = self.lists(model, items, allowed_BW)
    return found.ids_BKJ[:, 0], found.up_to_BKJ[:, 0], found.codes_BKJM[:, 0]
