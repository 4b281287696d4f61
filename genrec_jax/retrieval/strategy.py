# SPDX-License-Identifier: Apache-2.0
"""The seam of searches that read a model: what one asks for, and what it gets.

    strategy(model, items, allowed_BW) -> ids, scores, codes of the best

A strategy says by protocols of core/seams.py what it asks of the model. It then
gets the model with its parameters and the requests (a BoundModel), and all that
is known of the items in one argument (SearchItems): their trie, which of them
are new, and their vectors where the model gives any. Both are pytrees or made
inside of jit, so one program answers all requests.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped, UInt32

from genrec_jax.core import seams
from genrec_jax.data.item_mask import ItemMask

# Ids, scores and codes; what else is said of each place, (B, K) by name, may
# follow: -1 where there is no item.
Found = (
  tuple[Int[Array, "B K"], Float[Array, "B K"], Int[Array, "B K M"]]
  | tuple[
    Int[Array, "B K"],
    Float[Array, "B K"],
    Int[Array, "B K M"],
    Mapping[str, Int[Array, "B K"]],
  ]
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SearchItems:
  """What is searched: made once for the parameters that are asked.

  As of any pytree, fields may hold shapes or shardings in place of arrays.

  Attributes:
    trie: a Trie (decoding/trie.py) of the items that may be recommended.
    cold_V1: bool (V + 1,); items without an event in the training part.
    vectors_RD: what the model's `items` gives, row 0 = padding, rows beyond V
      to fill up; None where the strategy asks for none.
  """

  trie: Any
  cold_V1: Any
  vectors_RD: Any = None


@dataclasses.dataclass(frozen=True)
class BoundModel:
  """A model with its parameters and the requests it has read: a Decoder.

  Attributes:
    apply: (*args, method=NAME) -> what that method of the model answers.
    batch: the requests.
  """

  apply: Callable[..., Any]
  batch: Mapping[str, Any]

  def ask(self, method: str, *args: Any) -> Any:
    """What a method answers, such as ask("query", model.batch)."""
    return self.apply(*args, method=method)

  def start(self) -> tuple[Any, Float[Array, "B C"]]:
    """See decoding/decoder.py."""
    return self.ask("start", self.batch)

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See decoding/decoder.py."""
    return self.ask("step", cache, level, codes_BK, parents_BK)


@dataclasses.dataclass(frozen=True)
class StartedModel(BoundModel):
  """A BoundModel whose requests somebody else has had read.

  Attributes:
    started: what `start` gave.
  """

  started: Any = None

  def start(self) -> tuple[Any, Float[Array, "B C"]]:
    """See decoding/decoder.py."""
    return self.started


@dataclasses.dataclass(frozen=True)
class CachedDecoder:
  """A decoder that reads histories with the vectors of a search.

  Attributes:
    model: that has start_from(batch, vectors), beside what a decoder has.
    vectors_RD: what its `items` gave.
  """

  model: BoundModel
  vectors_RD: Float[Array, "R D"]

  def start(self) -> tuple[Any, Float[Array, "B C"]]:
    """See decoding/decoder.py."""
    return self.model.ask("start_from", self.model.batch, self.vectors_RD)

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """See decoding/decoder.py."""
    return self.model.step(cache, level, codes_BK, parents_BK)


@runtime_checkable
class Strategy(Protocol):
  """How the items are searched.

  Attributes:
    num_results: items returned per request.
    needs: protocols that the model must offer. Where one of them is a
      seams.VectorModel the search gets the vectors of the items.
  """

  num_results: int
  needs: tuple[type, ...]

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> Found:
    """Ids, scores and codes of the best; id 0 where there are fewer.

    Args:
      model: having read the requests.
      items: that are searched.
      allowed_BW: items that each request may get, as the words of an
        ItemMask (data/item_mask.py); None = all.
    """


@runtime_checkable
class Widening(Strategy, Protocol):
  """A strategy that can be asked for more items than it is set to return."""

  def widened(self, num_results: int) -> Strategy:
    """One that fills so many places, as long as there are allowed items."""


@runtime_checkable
class HostFinish(Strategy, Protocol):
  """A strategy that may end on the host, by an index that no program holds."""

  def on_host(self, items: SearchItems) -> Any:
    """The index, made once; None where all is one program.

    Args:
      items: as the devices hold them.
    """

  def in_parts(
    self, index: Any
  ) -> tuple[Strategy, Callable[[Any, ItemMask | None], Found]]:
    """What reads the model, and what makes Found of its answer on the host."""


@runtime_checkable
class Proposing(Strategy, Protocol):
  """A strategy whose beams of codes propose items, which vectors then order.

  All items of the beams' codes are candidates.

  Attributes:
    num_beams: codes that are looked at.
    adds_cold: whether all cold items are candidates as well.
  """

  num_beams: int
  adds_cold: bool


@runtime_checkable
class Choosing(Strategy, Protocol):
  """A strategy that not every model which it can ask is searched by."""

  def check_model(self, system: Any) -> None:
    """Raises a ValueError for such a model, which has all of `needs`."""


def needs_vectors(strategy: Strategy) -> bool:
  """Whether a strategy asks for the vectors of the items."""
  return any(issubclass(need, seams.VectorModel) for need in strategy.needs)


def check_model(strategy: object, system: object) -> None:
  """Raises a ValueError where a model cannot be searched so.

  Args:
    strategy: of config.retrieval.
    system: of config.system.
  """
  seams.require(strategy, Strategy, "config.retrieval")
  name = type(strategy).__name__
  for need in strategy.needs:
    seams.require(
      system, need, f"config.retrieval is {name}, for which config.system"
    )
  if seams.offers(strategy, Choosing):
    strategy.check_model(system)


def unless_no_numbers(
  scores_Bk: Float[Array, "B k"],
  logp_BK: Float[Array, "B K"],
  *others: Float[Array, "B ..."],
) -> Float[Array, "B k"]:
  """Scores, +inf in rows whose beams or others are no numbers.

  A top-k would leave those out and nobody would know; finite.check_scores
  refuses +inf.

  Args:
    scores_Bk: of the items found.
    logp_BK: of beams; -inf: no beam, +inf: of logits that were no numbers.
    others: what else decided.
  """
  wrong_B = jnp.any(~(logp_BK < jnp.inf), axis=1)
  for other in others:
    numbers = jnp.isfinite(other)
    wrong_B |= ~numbers.all(axis=tuple(range(1, other.ndim)))
  return jnp.where(wrong_B[:, None], jnp.inf, scores_Bk)


def best_of_each(
  ids_BP: Int[Array, "B P"],
  scores_BP: Float[Array, "B P"],
  *others: Shaped[Array, "B P"],
) -> tuple[Shaped[Array, "B P"], ...]:
  """Candidates in order of id: an item's best keeps its score.

  Its other places, and what is no item (id 0), have score -inf. `others` come
  in the same order.
  """
  order_BP = jnp.lexsort((-scores_BP, ids_BP), axis=1)
  ids_BP, scores_BP, *others = (
    jnp.take_along_axis(x, order_BP, axis=1)
    for x in (ids_BP, scores_BP, *others)
  )
  first_BP = ids_BP != jnp.pad(ids_BP[:, :-1], ((0, 0), (1, 0)))
  return ids_BP, jnp.where(first_BP, scores_BP, -jnp.inf), *others
