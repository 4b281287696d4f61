# SPDX-License-Identifier: Apache-2.0
"""RetailRocket: views, carts and transactions of a shop, 4.5 months of 2015.

    RetailRocket("folder")               events.csv in it, or the file itself
    RetailRocket("folder", actions=("purchase",))

timestamp (milliseconds, UTC), visitorid, event, itemid, transactionid. The
events are "view", "cart" and "purchase" here; items of one transaction are one
request, and every other event is a request of its own. Properties of items are
hashed by the publisher and not read: the item table is empty.

Source: Retailrocket recommender system dataset, Kaggle, 2017;
CC BY-NC-SA 4.0.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.sources import tables
from genrec_jax.data.sources.action_words import ActionWords

ACTIONS = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
_COLUMNS = ("timestamp", "visitorid", "event", "itemid", "transactionid")


@dataclasses.dataclass(frozen=True)
class RetailRocket:
  """The log of events.

  Attributes:
    path: the folder of events.csv, or a file or pattern of its format.
    actions: "view", "cart", "purchase" or some of them; rows of others are
      dropped and counted. Empty = all.
  """

  path: str = ""
  actions: Sequence[str] = ()

  def read(self) -> schema.RawLog:
    """Opens the log.

    Raises:
      ValueError: no such file, damage, a missing column, an event of another
        name, or an action of `actions` that never occurs.
    """
    table = tables.open_table(self._pattern(), _COLUMNS)
    words = ActionWords(table, "event", ACTIONS)
    actions, dropped = words.kept(self.actions)
    action = words.expression()
    bought = pl.when(action == "purchase").then("transactionid")
    return schema.RawLog(
      events=table.rows.filter(action.is_in(actions)).select(
        user="visitorid",
        item="itemid",
        timestamp="timestamp",
        action=action,
        request=bought,
      ),
      sources=self.checksums(),
      dropped=dropped,
      actions=actions,
      explain=table.explain,
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the log."""
    return checksums.sha256(tables.find(self._pattern()))

  def _pattern(self) -> str:
    if not self.path:
      raise checksums.MissingSource(
        "RetailRocket needs path=, the folder of the publisher's events.csv."
      )
    path = pathlib.Path(self.path)
    return str(path / "events.csv" if path.is_dir() else path)
