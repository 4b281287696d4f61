# SPDX-License-Identifier: Apache-2.0
"""Vectors that others have made, beside what a layout gives of impressions.

    user_vectors_BLQE   what queries of an exported user model found of the
                        user (data/dataset/user_vectors.py), point in time
    item_vector_BLE     what the same model makes of the item
    content_BLC         the vector of the item's content (content/)

All float32. A user's vectors are the latest that were made by the time of the
request, of no more events than its history has: what else is there would know
what came after, and is refused. Nobody (a user of no data set) has zeros, and
so has an item that the model did not know.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.dataset.user_vectors import UserVectors
from genrec_jax.data.layouts.base import LayoutArtifacts

_WHERE = "config.pipeline.layout.vectors"
USERS, CONTENT = "users", "content"
_REFUSE, _ZEROS = _MISSING = ("refuse", "zeros")


@dataclasses.dataclass(frozen=True, eq=False)
class BoundUsers:
  """Vectors of a data set's users; row 0 is nobody's, all 0.

  Attributes:
    known: see UserVectors.
    ids: of the users.
    vectors_R1QE: of the queries that are given.
    items_V1E: by item index.
    epoch_seconds: of the data set.
  """

  known: UserVectors
  ids: list[str]
  vectors_R1QE: Float[np.ndarray, "R1 Q E"]
  items_V1E: Float[np.ndarray, "V1 E"]
  epoch_seconds: int


@dataclasses.dataclass(frozen=True)
class VectorColumns:
  """See the module docstring.

  Attributes:
    queries: of the user model, in the order in which they are given; () = no
      vectors of users.
    width: E, of these.
    missing: what a known user has before the first export: "refuse" is an
      error, "zeros" is what nobody has.
    content_width: C; 0 = no vectors of content.
    users: set by `bind`.
    content_V1C: likewise.
  """

  queries: tuple[str, ...] = ()
  width: int = 1
  missing: str = _REFUSE
  content_width: int = 0
  users: BoundUsers | None = None
  content_V1C: Float[np.ndarray, "V1 C"] | None = None

  def __post_init__(self):
    check_counts(self, _WHERE, "content_width", least=0)
    if self.missing not in _MISSING:
      raise ValueError(
        f"{_WHERE}.missing={self.missing!r} is unknown."
        + choices_hint(self.missing, _MISSING)
      )
    if not self.gives or len(set(self.queries)) < len(self.queries):
      raise ValueError(
        f"{_WHERE} has queries={self.queries} and content_width="
        f"{self.content_width}: name a query or a width, each query once."
      )

  @property
  def gives(self) -> tuple[str, ...]:
    """Which vectors there are."""
    users = (USERS,) if self.queries else ()
    return users + ((CONTENT,) if self.content_width else ())

  @property
  def num_columns(self) -> int:
    """Columns of an Example: which vectors the user has."""
    return int(bool(self.queries))

  def bind(self, artifacts: LayoutArtifacts) -> "VectorColumns":
    """The same of a data set.

    Raises:
      ValueError: no such vectors, others of another width, or a query that was
        not asked.
    """
    users = content = None
    if self.queries:
      users = self._users(artifacts)
    if self.content_width:
      content = artifacts.vectors()
      _check_width("content_width", self.content_width, content.shape[1])
    return dataclasses.replace(self, users=users, content_V1C=content)

  def rows(
    self,
    user: int,
    times_n: Int[np.ndarray, "n"] | None,
    events_n: Int[np.ndarray, "n"],
  ) -> Int[np.ndarray, "n C"]:
    """Which vectors a user has at some moments, 0 = none.

    Args:
      user: index; -1 is nobody known.
      times_n: seconds since the data set's epoch; None = it has none.
      events_n: events of the user that are told.

    Raises:
      ValueError: those that there are know what came after.
    """
    found = np.zeros((len(events_n), self.num_columns), np.int32)
    if self.users is None or user < 0 or times_n is None:
      return found
    name = self.users.ids[user]
    unix_n = times_n.astype(np.int64) + self.users.epoch_seconds
    rows_n = self.users.known.rows_at(name, unix_n, events_n)
    if self.missing == _REFUSE and (rows_n < 0).any():
      at = int(np.argmax(rows_n < 0))
      why = self.users.known.why_none(name, int(unix_n[at]), int(events_n[at]))
      raise ValueError(
        f"{why} Export at an earlier moment (config.user_vectors.cuts), train"
        " on later impressions (config.pipeline.layout.since), or set"
        f" {_WHERE}.missing='zeros'."
      )
    found[:, 0] = rows_n + 1
    return found

  def batch(
    self, rows_BLC: Int[np.ndarray, "B L C"], item_BL: Int[np.ndarray, "B L"]
  ) -> dict[str, np.ndarray]:
    """The arrays; zeros where the layout is not bound.

    Args:
      rows_BLC: of `rows`.
      item_BL: indices.
    """
    found = {}
    if self.queries:
      vectors = items = None
      if self.users is not None:
        vectors, items = self.users.vectors_R1QE, self.users.items_V1E
      shape = (len(self.queries), self.width)
      row_BL = rows_BLC[:, :, 0]
      found["user_vectors_BLQE"] = _taken(vectors, row_BL, shape)
      found["item_vector_BLE"] = _taken(items, item_BL, (self.width,))
    if self.content_width:
      shape = (self.content_width,)
      found["content_BLC"] = _taken(self.content_V1C, item_BL, shape)
    return found

  def _users(self, artifacts: LayoutArtifacts) -> BoundUsers:
    epoch = artifacts.histories.manifest.epoch_seconds
    if epoch is None:
      raise ValueError(
        f"{_WHERE}.queries reads what was known of a user at a time, and the"
        " data set has no times: map a timestamp column, or leave them out."
      )
    known = artifacts.user_vectors()
    columns = known.columns(self.queries, f"{_WHERE}.queries")
    _check_width("width", self.width, known.width)
    vectors = known.answers.vectors_RQE[:, columns]
    place = {name: row for row, name in enumerate(known.answers.items, 1)}
    items = np.pad(known.answers.items_VE, ((1, 0), (0, 0)))
    rows = [place.get(name, 0) for name in artifacts.catalog.ids]
    return BoundUsers(
      known=known,
      ids=Users(artifacts.histories.directory).ids,
      vectors_R1QE=np.pad(vectors, ((1, 0), (0, 0), (0, 0))),
      items_V1E=items[rows],
      epoch_seconds=epoch,
    )


def check_reads(system: seams.Model, columns: VectorColumns | None) -> None:
  """Raises a ValueError where a system reads other vectors than it is given."""
  given = () if columns is None else columns.gives
  reads = ()
  if seams.offers(system, seams.VectorReader):
    reads = tuple(system.reads_vectors)
  if reads != given:
    raise ValueError(
      f"config.system ({type(system).__name__}) reads the vectors"
      f" {reads or 'of nothing'}, and {_WHERE} gives {given or 'none'}: they"
      " must be the same."
    )


def _check_width(option: str, asked: int, there: int) -> None:
  if asked != there:
    raise ValueError(
      f"{_WHERE}.{option}={asked}, and the vectors that there are have {there}:"
      " set it to that."
    )


def _taken(
  table: np.ndarray | None, rows_BL: np.ndarray, shape: tuple[int, ...]
) -> Float[np.ndarray, "..."]:
  """Rows of a table in float32; zeros of the shape where there is none."""
  if table is None:
    return np.zeros((*rows_BL.shape, *shape), np.float32)
  return table[rows_BL].astype(np.float32, copy=False)
