# SPDX-License-Identifier: Apache-2.0
"""Features of an impression by name: of its item, its user and its moment.

    item.id  item.count  item.ATTRIBUTE     of the catalogue; count: training
    user.id  user.ATTRIBUTE                 of the table of users
    context.NAME                            of the moment: moments.py
    affinity.ATTRIBUTE[.TASK]               of user and item: affinity.py
    recent.ATTRIBUTE.DAYS                   of item and moment: recent.py
    window.ATTRIBUTE.SPAN[.TASK]            likewise: windows.py
    age.ATTRIBUTE                           of item and moment: age.py

Each has an encoder (data/features/encoders.py), fitted on the training part: on
items and users as often as training meets them, on moments at its labelled
events. A list of values, such as a movie's genres, counts as one value.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools

from jaxtyping import Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.training_events import training_events
from genrec_jax.data.features.affinity import affinity
from genrec_jax.data.features.age import age
from genrec_jax.data.features.encoders import FeatureEncoder, FittedEncoder
from genrec_jax.data.features.moments import (
  Clock,
  Moments,
  context_functions,
)
from genrec_jax.data.features.recent import recent
from genrec_jax.data.features.windows import LoggedEvents, window
from genrec_jax.data.prepare.attributes import scalars

SIDES = ("item", "user", "context", "affinity", "recent", "age", "window")
# What is computed anew at every moment.
MOMENT = ("context", "affinity", "recent", "age", "window")
# Whole numbers beyond it are not told apart as float64.
_EXACT = 2**53


@dataclasses.dataclass(frozen=True)
class Feature:
  """One feature.

  Attributes:
    of: its name, see the module docstring.
    encoder: makes rows of a table of its values.
  """

  of: str
  encoder: FeatureEncoder

  def __post_init__(self):
    if self.side not in SIDES or not self.field:
      raise ValueError(
        f"feature {self.of!r} must be SIDE.NAME with a side of"
        f" {', '.join(SIDES)}, such as 'item.id'."
      )

  @property
  def side(self) -> str:
    """One of SIDES."""
    return self.of.partition(".")[0]

  @property
  def field(self) -> str:
    """The name without the side."""
    return self.of.partition(".")[2]


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFeatures:
  """Features of one data set, in groups by side and in their order there.

  Attributes:
    items: (V + 1, item features) table rows; row 0 is padding, all 0.
    users: (U + 1, user features); row 0 is an unknown user, all 0.
    contexts: function and encoder of each feature of moments.
    clock: of the data set.
    feedback: of the data set.
    unseen: by item or user feature: items or users that share the row of the
      unseen.
  """

  items: Int[np.ndarray, "V1 Fi"]
  users: Int[np.ndarray, "U1 Fu"]
  contexts: tuple[tuple[Callable, FittedEncoder], ...]
  clock: Clock
  feedback: BoundFeedback
  unseen: Mapping[str, int]

  def context(self, moments: Moments) -> Int[np.ndarray, "n Fc"]:
    """Table rows of the features of some moments of a user."""
    ids = np.zeros((len(moments.ends), len(self.contexts)), np.int32)
    for column, (function, encoder) in enumerate(self.contexts):
      values = function(moments, self.clock, self.feedback)
      ids[:, column] = encoder.ids(values)
    return ids


def fit_features(
  features: tuple[Feature, ...],
  feedback: BoundFeedback,
  histories: HistorySource,
  catalog: Catalog,
  users: Users,
  clock: Clock,
) -> FittedFeatures:
  """Fits the encoders on the training part; reads all histories once.

  Once more where a feature is of events of all users.

  Raises:
    ValueError: a feature that the data set does not have.
  """
  wanted = moment_functions(
    features,
    feedback,
    catalog.attributes,
    catalog.num_items,
    lambda: timed_events(histories, feedback),
    lambda: LoggedEvents.of(histories, feedback),
  )
  of_moments = [f for f in features if f.side in MOMENT]
  counts = np.zeros(len(histories), np.int64)
  seen = [np.zeros((0, len(wanted)))]
  for user in range(len(histories)):
    record = histories[user]
    end = histories.split.train_end(record)
    counts[user] = end
    moments = Moments.of_events(
      record, np.flatnonzero(feedback.asked(record)[:end])
    )
    if wanted and len(moments.ends):
      values = [function(moments, clock, feedback) for function in wanted]
      seen.append(np.stack(values, axis=1))
  context = np.concatenate(seen)
  ones = np.ones(len(context), np.int64)
  contexts = tuple(
    (function, feature.encoder.fit(context[:, column], ones))
    for column, (feature, function) in enumerate(
      zip(of_moments, wanted, strict=True)
    )
  )
  item_ids = {"id": pl.Series(catalog.ids[1:]), "count": catalog.count[1:]}
  items, unseen_items = _rows(
    [f for f in features if f.side == "item"],
    item_ids,
    catalog.attributes,
    catalog.count[1:],
  )
  user_ids = {"id": pl.Series(users.ids)}
  of_users, unseen_users = _rows(
    [f for f in features if f.side == "user"],
    user_ids,
    users.attributes,
    counts,
  )
  return FittedFeatures(
    items, of_users, contexts, clock, feedback, unseen_items | unseen_users
  )


def timed_events(
  histories: HistorySource, feedback: BoundFeedback
) -> tuple[Int[np.ndarray, "E"], Int[np.ndarray, "E"]]:
  """Times and items of all training events whose time is known."""
  return training_events(histories, lambda r: ~feedback.untimed(r))


def moment_functions(
  features: tuple[Feature, ...],
  feedback: BoundFeedback,
  attributes: pl.DataFrame,
  num_items: int,
  events: Callable[[], tuple[np.ndarray, np.ndarray]],
  logged: Callable[[], LoggedEvents],
) -> list[Callable]:
  """What computes each of the features of moments, in their order.

  Args:
    features: of all sides.
    feedback: of the data set.
    attributes: of items 1, 2, ... in order.
    num_items: V.
    events: gives `timed_events`; asked once, where a feature counts them.
    logged: gives the events of all parts of the log; likewise.

  Raises:
    ValueError: a feature that the data set does not have.
  """
  functions = context_functions(feedback)
  timed, of_log = functools.cache(events), functools.cache(logged)
  makers = {
    "affinity": lambda *of: affinity(*of, feedback),
    "recent": lambda *of: recent(*of, *timed()),
    "age": lambda *of: age(*of, *timed()),
    "window": lambda *of: window(*of, of_log()),
  }
  return [
    _named(f, functions)
    if f.side == "context"
    else makers[f.side](f.field, attributes, num_items)
    for f in features
    if f.side in MOMENT
  ]


def _rows(features, own, attributes, counts):
  """Table rows by index, after a row of zeros; and counts of the unseen."""
  columns = {**{c: attributes[c] for c in attributes.columns}, **own}
  rows = np.zeros((len(counts) + 1, len(features)), np.int32)
  unseen = {}
  for place, feature in enumerate(features):
    values = _values(pl.Series(_named(feature, columns)))
    try:
      fitted = feature.encoder.fit(values, counts)
    except ValueError as error:
      raise ValueError(f"feature {feature.of!r}: {error}") from error
    rows[1:, place] = fitted.ids(values)
    unseen[feature.of] = fitted.num_unseen(values)
  return rows, unseen


def _named(feature, choices):
  if feature.field not in choices:
    raise ValueError(
      f"the data set has no feature {feature.of!r}."
      + choices_hint(feature.field, choices)
    )
  return choices[feature.field]


def _values(column: pl.Series) -> np.ndarray:
  """float64 with NaN, or text in an object array; a list is one text."""
  column = scalars(column)
  kind = column.dtype
  if kind.is_integer() and (column.cast(pl.Float64).abs() > _EXACT).any():
    column, kind = column.cast(pl.String), pl.String()
  if kind.is_numeric() or kind == pl.Boolean or kind == pl.Null:
    return column.cast(pl.Float64).fill_null(np.nan).to_numpy()
  return np.array([*column.cast(pl.String).to_list(), None], object)[:-1]
