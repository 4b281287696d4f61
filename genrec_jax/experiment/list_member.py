# SPDX-License-Identifier: Apache-2.0
"""Lists of another retriever as a member of an ensemble.

    search = list_search("in_use", TableLists("lists.parquet", time="made_at"),
                         histories)
    search(requests, k, allowed)

Any source of lists (made_lists.py) is one: a table of what a retriever in
production returned, item-kNN or popularity as they were at each request. Where
an answer is measured, that is where what came next is known, a request without
a list, or with one made of later events, is an error, as it is of made lists:
it would count against the member, or for it. A request that is merely served
gets the list that there is, or none, and other members fill its places.
"""

from collections.abc import Mapping
import functools
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.experiment.asked_moments import AskedMoments, train_until
from genrec_jax.experiment.made_lists import (
  ListSource,
  Returned,
  check_same_data,
)
from genrec_jax.retrieval.joined_lists import cleaned

Found = tuple[
  Int[np.ndarray, "B K"], Float[np.ndarray, "B K"], Mapping[str, Any]
]


def list_search(name: str, source: ListSource, histories: Histories) -> Search:
  """The lists of a source as a search.

  A retriever is asked for so many items more as a mask takes away at most.

  Args:
    name: of the member, for errors.
    source: of its lists.
    histories: the data set that is searched.

  Raises:
    ValueError: of another data set, or what `source` raises; the search
      itself for lists that are lacking, or made of later events.
  """
  retriever = source.open(histories)
  check_same_data(name, retriever, histories.manifest)
  num_items = histories.manifest.num_items
  known = functools.cache(functools.partial(train_until, histories))

  def search(
    requests: Requests, k: int, allowed: ItemMask | None = None
  ) -> Found:
    fetch = k
    if allowed is not None and len(allowed):
      fetch += num_items - int(allowed.count().min())
    found = retriever.ask(requests, min(fetch, num_items))
    _check(found, requests)
    ids_BK = np.asarray(found.ids)
    if found.lacks is not None:
      ids_BK = np.where(np.asarray(found.lacks)[:, None], 0, ids_BK)
    ids_BK = cleaned(ids_BK, allowed)[:, :k]
    scores_K = 1 / np.arange(1.0, k + 1, dtype=np.float32)
    return ids_BK, np.where(ids_BK > 0, scores_K, -np.inf), {}

  def _check(found: Returned, requests: Requests) -> None:
    measured_B = requests.target > 0
    if not measured_B.any():
      return
    asked_at = AskedMoments(
      histories,
      requests.event,
      requests.user,
      requests.query_time,
      np.zeros(len(requests), bool),
      known,
    )
    lacks_B = np.zeros(len(requests), bool)
    if found.lacks is not None:
      lacks_B = np.asarray(found.lacks)
    asked_at.check_complete(name, lacks_B & measured_B)
    until_B = np.where(measured_B, found.until, requests.query_time)
    asked_at.hindsight(name, until_B, allowed=False)

  return search
