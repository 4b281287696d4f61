# SPDX-License-Identifier: Apache-2.0
"""Lists that were made ahead, which are asked for before any model.

    genrec recommend --workdir=runs/a --all-users --k=200 --output=lists.parquet
    genrec serve --workdir=runs/a --ready_lists=lists.parquet

`ReadyLists` is the seam: whoever keeps lists elsewhere gives the service an
object of their own. `ListFile` reads what genrec recommend writes; popular
items of those of whom nothing was known are no list of theirs. The file itself
says when it was made and what it knows (serving/list_facts.py). made_ahead.py
says when a list answers.
"""

import dataclasses
import os
import pathlib
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from genrec_jax.core.checksums import sha256
from genrec_jax.serving.found import POPULAR
from genrec_jax.serving.list_facts import ListFacts

_COLUMNS = ("user_id", "rank", "item_id", "score")
_NAMED = 16


@dataclasses.dataclass(frozen=True)
class ReadyList:
  """A user's list.

  Attributes:
    items: ids, best first.
    scores: of each.
    version: of the lists that it is one of.
    made: unix seconds at which they were begun.
    known: unix seconds until which they know the events of users.
    model: identity of the run that they are of; "" = they name none.
  """

  items: tuple[str, ...]
  scores: tuple[float, ...]
  version: str
  made: float
  known: float
  model: str = ""


@runtime_checkable
class ReadyLists(Protocol):
  """Lists by user; called from several threads."""

  def of(self, user: str) -> ReadyList | None:
    """That of a user; None where there is none."""


class ListFile:
  """See the module docstring.

  Attributes:
    version: of what is in the file.
    facts: what it says of its lists.
  """

  def __init__(self, path: str | os.PathLike):
    """Reads a Parquet file.

    Raises:
      ValueError: no such file, one without the columns or the facts, or
        several lists of a user.
    """
    path = pathlib.Path(path)
    try:
      table = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
      raise ValueError(
        f"{path} cannot be read as lists ({type(error).__name__}): genrec"
        " recommend --all-users --output=lists.parquet writes them."
      ) from error
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
      raise ValueError(f"{path} has no column {', '.join(missing)}.")
    if "source" in table.columns:
      table = table.filter(pl.col("source").cast(pl.String) != POPULAR)
    table = table.sort("user_id", "rank", maintain_order=True)
    users = table["user_id"].cast(pl.String)
    again = (users == users.shift(1)) & (
      table["rank"] == table["rank"].shift(1)
    )
    if again.any():
      raise ValueError(
        f"{path} has several items of user {users.filter(again)[0]!r} at one"
        " rank, as lists of an evaluation have (--as_of): write one list of a"
        " user, by genrec recommend --all-users without --as_of."
      )
    (digest,) = sha256([path]).values()
    self.version, self.facts = digest[:_NAMED], ListFacts.read(path)
    self._items = table["item_id"].cast(pl.String)
    self._scores = table["score"].cast(pl.Float64)
    begins = np.flatnonzero(
      (users != users.shift(1)).fill_null(True).to_numpy()
    )
    ends = np.append(begins, len(users))[1:]
    self._places = dict(
      zip(
        users.gather(begins).to_list(),
        zip(begins.tolist(), ends.tolist(), strict=True),
        strict=True,
      )
    )

  def __len__(self) -> int:
    """Users who have one."""
    return len(self._places)

  def of(self, user: str) -> ReadyList | None:
    """See ReadyLists."""
    place = self._places.get(user)
    if place is None:
      return None
    part = slice(*place)
    return ReadyList(
      tuple(self._items[part].to_list()),
      tuple(self._scores[part].to_list()),
      self.version,
      self.facts.made,
      self.facts.known_until,
      self.facts.model,
    )
