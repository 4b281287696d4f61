# SPDX-License-Identifier: Apache-2.0
"""A retriever and a ranker one after the other, as one search.

    found  = retrieve(request, n)            the n best of the catalogue
    values = weights . P(task | history, item)      of these alone
    answer = the k of highest value; ties in the retriever's order

It stands behind the seam that every retriever does, search(requests, k,
allowed), so that whatever recommends or evaluates takes it as it is. The two
models may be one. Scores of the answer are the values; an item whose value is
NaN or -inf is left out, as every retriever does. What the first stage found and
said goes with the answer.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.ranking.utility import ValueFunction


@runtime_checkable
class SecondStage(Protocol):
  """A ranker that is trained.

  Attributes:
    scorer: the model.
    histories: the data set.
  """

  scorer: CandidateScorer
  histories: Histories

  def value_of(self, weights: Any) -> ValueFunction:
    """By these weights; the ranker's own where there are none."""


@dataclasses.dataclass(frozen=True)
class TwoStage:
  """See the module docstring; the instance itself is the search.

  Attributes:
    retrieve: the first stage.
    scorer: the second.
    value: what its probabilities are worth.
    num_candidates: n; more where more are asked for.
    num_items: V.
  """

  retrieve: Search
  scorer: CandidateScorer
  value: ValueFunction
  num_candidates: int
  num_items: int

  def __post_init__(self):
    if self.num_candidates < 1:
      raise ValueError(
        f"num_candidates={self.num_candidates} must be at least 1."
      )

  @classmethod
  def of(
    cls,
    retrieve: Search,
    histories: Histories,
    ranker: SecondStage,
    num_candidates: int = 100,
    weights: Any = "",
  ) -> "TwoStage":
    """Puts a ranker behind the search of a model of these histories.

    Raises:
      ValueError: the ranker is of other data, whose numbers mean other items.
    """
    ours = histories.manifest.fingerprint
    other = ranker.histories.manifest.fingerprint
    if ours != other:
      raise ValueError(
        f"the retriever was trained on the data in {histories.directory}, and"
        f" the ranker on those in {ranker.histories.directory} (fingerprints"
        f" {ours} and {other}): train both on one source, filter and split"
        " (--config.prepared)."
      )
    return cls(
      retrieve,
      ranker.scorer,
      ranker.value_of(weights),
      num_candidates,
      histories.manifest.num_items,
    )

  def __call__(
    self,
    requests: Requests,
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Returns ids (B, k) and values (B, k); id 0 where fewer were found.

    Beside them {"candidates": ids of the first stage (B, n), "retrieved": what
    else it said, "probabilities": of the tasks (B, k, T)}.
    """
    count = min(max(k, self.num_candidates), self.num_items)
    found_BN, _, said = self.retrieve(requests, count, allowed)
    ids = np.zeros((len(requests), k), np.int32)
    values = np.full((len(requests), k), -np.inf, np.float32)
    chances = np.zeros((*ids.shape, len(self.value.tasks)), np.float32)
    for row, record in enumerate(requests.history):
      found_N = np.asarray(found_BN[row], np.int32)
      found_N = found_N[found_N > 0]
      if not len(found_N):
        continue
      time = int(requests.query_time[row])
      request = asked_about(record, found_N, time, self.num_items)
      whose = {} if requests.key is None else {"key": requests.key[row]}
      found_NT = self.scorer.score(request, **whose)
      value_N = self.value(found_NT)
      kept = np.flatnonzero(value_N > -np.inf)
      found_N, value_N, found_NT = (
        x[kept] for x in (found_N, value_N, found_NT)
      )
      best = np.argsort(-value_N, kind="stable")[:k]
      ids[row, : len(best)] = found_N[best]
      values[row, : len(best)] = value_N[best]
      chances[row, : len(best)] = found_NT[best]
    return (
      ids,
      values,
      {
        "candidates": np.asarray(found_BN),
        "retrieved": said,
        "probabilities": chances,
      },
    )
