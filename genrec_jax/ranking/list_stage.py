# SPDX-License-Identifier: Apache-2.0
"""A retriever, and behind it a model that makes the list itself, as one search.

    found = retrieve(request, n)            the n best of the catalogue
    list  = place by place the one of most value behind the prompt, the items
            placed before it and what is assumed of each (assumed_lists.py)

As two_stage.py, for models that go on with items (seams.AssumingModel); the two
models may be one. The score of a place is the value that its item was placed
by, so scores need not fall. Requests are asked in batches of few sizes: each
size is a program.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.seams import Search
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.ranking.assumed_actions import RULES
from genrec_jax.ranking.assumed_lists import ListMaker
from genrec_jax.ranking.two_stage import SecondStage, TwoStage


@dataclasses.dataclass(frozen=True, eq=False)
class ListStage(TwoStage):
  """See the module docstring; attributes that are not here are TwoStage's.

  Attributes:
    rule: what is assumed of a placed item, of assumed_actions.RULES.
  """

  rule: str = "likely"

  def __post_init__(self):
    super().__post_init__()
    if self.rule not in RULES:
      hint = choices_hint(self.rule, RULES)
      raise ValueError(f"assume={self.rule!r} is unknown.{hint}")
    if self.scorer.loaded is None:
      raise ValueError(
        "a list is made by a model, and this ranker is none that was loaded:"
        " leave assume out, which orders by value."
      )
    seams.require(self.scorer.loaded.system, seams.AssumingModel, "the ranker")

  @classmethod
  def ruled(
    cls,
    rule: str,
    retrieve: Search,
    histories: Histories,
    ranker: SecondStage,
    num_candidates: int = 100,
    weights: Any = "",
  ) -> TwoStage:
    """A ListStage by a rule, or TwoStage where there is none ("").

    Raises:
      ValueError: as TwoStage.of, an unknown rule, or a ranker that makes no
        lists.
    """
    plain = TwoStage.of(retrieve, histories, ranker, num_candidates, weights)
    return cls(**vars(plain), rule=rule) if rule else plain

  def __call__(
    self,
    requests: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns ids (B, k) and values (B, k); id 0 where fewer were found.

    Beside them what TwoStage says, and "assumed" (B, k, A, C): see AssumedList.
    """
    count = min(max(k, self.num_candidates), self.num_items)
    found_BN, _, said = self.retrieve(requests, count, allowed)
    found_BN = np.asarray(found_BN, np.int32)
    asked = len(requests)
    made = self._maker(min(k, count))(
      _shown(requests, found_BN).padded(1 << (asked - 1).bit_length())
    )
    order_BK = made.order_BK[:asked]
    missing = ((0, 0), (0, k - order_BK.shape[1]))
    ids = np.take_along_axis(found_BN, np.maximum(order_BK, 0), axis=1)
    chances = made.probabilities_BKT[:asked]
    values = chances @ np.array(self.value.weights, chances.dtype)
    return (
      np.pad(np.where(order_BK >= 0, ids, 0), missing),
      np.pad(
        np.where(order_BK >= 0, values, -np.inf),
        missing,
        constant_values=-np.inf,
      ),
      {
        "candidates": found_BN,
        "retrieved": said,
        "probabilities": np.pad(chances, (*missing, (0, 0))),
        "assumed": made.assumed_BKAC[:asked],
      },
    )

  def _maker(self, places: int) -> ListMaker:
    """Of lists of so many places, made once."""
    if places not in self._makers:
      model = self.scorer.loaded
      self._makers[places] = ListMaker.of(
        model.system,
        model.params,
        self.scorer.layout,
        self.value,
        places,
        self.rule,
      )
    return self._makers[places]

  @functools.cached_property
  def _makers(self) -> dict[int, ListMaker]:
    return {}


def _shown(requests: Requests, item_BN: np.ndarray) -> Impressions:
  """Requests with candidates of which nothing is known."""
  return Impressions(
    user=requests.user,
    history=requests.history,
    query_time=requests.query_time,
    candidates=item_BN,
    labels=np.zeros_like(item_BN),
    known=np.zeros(item_BN.shape, bool),
    event=np.full_like(item_BN, -1),
  )
