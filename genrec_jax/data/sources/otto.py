# SPDX-License-Identifier: Apache-2.0
"""OTTO: sessions of a shop with clicks, carts and orders, five weeks of 2022.

    Otto("otto-recsys-train.jsonl")
    Otto("otto-recsys-*.jsonl.gz", actions=("view", "purchase"))

One session a line, {"session": 0, "events": [{"aid": 7, "ts": 1659304800025,
"type": "clicks"}, ...]}. A session is a user; clicks, carts and orders are
"view", "cart" and "purchase" here; orders of one session at one time are one
request, and every other event is a request of its own. Times are milliseconds
since 1970 (UTC); releases in seconds are recognised by their size.

Source: P. Normann et al., OTTO recommender systems dataset, 2022; CC BY 4.0.
"""

from collections.abc import Sequence
import dataclasses

import polars as pl

from genrec_jax.core import checksums
from genrec_jax.data import schema
from genrec_jax.data.sources import tables
from genrec_jax.data.sources.action_words import ActionWords

ACTIONS = {"clicks": "view", "carts": "cart", "orders": "purchase"}
_COLUMNS = ("session", "aid", "ts", "type")


@dataclasses.dataclass(frozen=True)
class Otto:
  """The log of sessions.

  Attributes:
    path: a file or pattern, JSON lines.
    actions: "view", "cart", "purchase" or some of them; events of others are
      dropped and counted. Empty = all.
  """

  path: str = ""
  actions: Sequence[str] = ()

  def read(self) -> schema.RawLog:
    """Opens the log.

    Raises:
      ValueError: no such file, a damaged line, a missing key, an event of
        another type, or an action of `actions` that never occurs.
    """
    self._check_path()
    table = tables.open_table(
      self.path, _COLUMNS, format="jsonl", nested="events"
    )
    words = ActionWords(table, "type", ACTIONS)
    actions, dropped = words.kept(self.actions)
    action = words.expression()
    return schema.RawLog(
      events=table.rows.filter(action.is_in(actions)).select(
        user="session",
        item="aid",
        timestamp="ts",
        action=action,
        request=pl.when(action == "purchase").then("ts"),
      ),
      sources=self.checksums(),
      dropped=dropped,
      actions=actions,
      explain=table.explain,
    )

  def checksums(self) -> dict[str, str]:
    """File name -> sha256 of the files."""
    self._check_path()
    return checksums.sha256(tables.find(self.path))

  def _check_path(self) -> None:
    if not self.path:
      raise checksums.MissingSource(
        "Otto needs path=, a file of sessions such as otto-recsys-train.jsonl."
      )
