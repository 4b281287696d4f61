# SPDX-License-Identifier: Apache-2.0
"""From requests to lists: the model's, or what is popular behind no history.

    found = Answering(search, popular, catalog, users).found(requests, k, ...)

A list has fewer than k places where fewer items are left.
"""

import dataclasses

import numpy as np
import polars as pl

from genrec_jax.core.seams import Search
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.requests import Requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.serving.found import Found


@dataclasses.dataclass(frozen=True)
class Answering:
  """Who answers, and what of.

  Attributes:
    search: the model's.
    popular: who answers where there is no history.
    catalog: items of its data set.
    users: users of it.
  """

  search: Search
  popular: Search
  catalog: Catalog
  users: Users

  def found(
    self,
    requests: Requests,
    k: int,
    filter_history: bool,
    wanted: ItemMask | None,
    always: bool = False,
  ) -> Found:
    """Lists of up to batch_size requests.

    Args:
      requests: whom for.
      k: places.
      filter_history: hide what they hold.
      wanted: one row, or None.
      always: the model answers behind an empty history too.
    """
    items = [r["item"] for r in requests.history]
    hidden = items if filter_history else [x[:0] for x in items]
    allowed = None
    if filter_history or wanted is not None:
      allowed = ItemMask.all_but(hidden, self.catalog.num_items)
    if wanted is not None:
      allowed = allowed & wanted
    known = [always or len(r["item"]) > 0 for r in requests.history]
    by_model_B = np.array(known, bool)
    ids_BK = np.zeros((len(requests), k), np.int32)
    scores_BK = np.full((len(requests), k), -np.inf, np.float32)
    for rows, search in (
      (np.flatnonzero(by_model_B), self.search),
      (np.flatnonzero(~by_model_B), self.popular),
    ):
      if len(rows):
        some, mine = requests, allowed
        if len(rows) < len(requests):
          some = requests_at(requests, rows)
          mine = None if allowed is None else allowed[rows]
        ids, scores, _ = search(some, k, mine)
        ids_BK[rows], scores_BK[rows] = np.asarray(ids), np.asarray(scores)
    left_B = np.full(len(requests), self.catalog.num_items)
    if allowed is not None:
      left_B = allowed.count()
    return Found(ids_BK, scores_BK, by_model_B, left_B)

  def of_users(
    self, requests: Requests, found: Found, titles: bool = True
  ) -> tuple[pl.DataFrame, np.ndarray]:
    """A table with the users' ids in front, and each row's request."""
    table, row = found.table(self.catalog, titles)
    ids = self.users.id_column.gather(requests.user[row])
    return table.insert_column(0, ids.alias("user_id")), row
