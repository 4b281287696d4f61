# SPDX-License-Identifier: Apache-2.0
"""The features that a layout gives its system, looked up for a batch.

    asked about   all F features, of item, user and moment        (..., F)
    of an event   G of them, its item's                           (..., G)

What is known of items and users is looked up by id when a batch is made; what
is known of a moment is computed with the example and travels in its columns.
Unbound, all are 0: shapes are known without data.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Protocol, runtime_checkable

from jaxtyping import Int
import numpy as np

from genrec_jax.core.offers import offers
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.features.features import (
  MOMENT,
  Feature,
  FittedFeatures,
  fit_features,
)
from genrec_jax.data.features.moments import Clock, Moments


@runtime_checkable
class KnowsFeatures(Protocol):
  """Histories of which is known what encoders learn of them."""

  def fitted_features(
    self,
    features: tuple[Feature, ...],
    feedback: BoundFeedback,
    clock: Clock,
  ) -> FittedFeatures:
    """What fit_features gives of them."""


@dataclasses.dataclass(frozen=True)
class FeatureSet:
  """See the module docstring.

  Attributes:
    features: F of them.
    history: names of the G item features that events have too.
    utc_offset_hours: of the clock of hours and weekdays.
    fitted: set by `bind`.
  """

  features: tuple[Feature, ...] = ()
  history: tuple[str, ...] = ()
  utc_offset_hours: float = 0.0
  fitted: FittedFeatures | None = None

  def __post_init__(self):
    names = [f.of for f in self.features]
    if len(set(names)) < len(names):
      raise ValueError(f"features {names} name one twice; name each once.")
    items = [f.of for f in self.features if f.side == "item"]
    wrong = [name for name in self.history if name not in items]
    if wrong:
      raise ValueError(
        f"history_features has {wrong[0]!r}: choose among the item features,"
        f" {', '.join(items) or 'of which there are none'}."
      )

  @property
  def rows(self) -> tuple[int, ...]:
    """Rows of each feature's table."""
    return tuple(f.encoder.rows for f in self.features)

  @property
  def history_columns(self) -> tuple[int, ...]:
    """Places of the history's features among all."""
    return self.columns_of(self.history)

  @property
  def item_columns(self) -> tuple[int, ...]:
    """Places of the items' features among all."""
    return tuple(self._places["item"])

  def columns_of(self, names: Sequence[str]) -> tuple[int, ...]:
    """Places of features that are there among all."""
    every = [f.of for f in self.features]
    return tuple(every.index(name) for name in names)

  @property
  def request_columns(self) -> tuple[int, ...]:
    """Places of the features of user and moment, whatever the item is."""
    return tuple(
      i for i, f in enumerate(self.features) if f.side in ("user", "context")
    )

  @property
  def num_moment(self) -> int:
    """How many features are of the moment."""
    return len(self._places["moment"])

  def bind(
    self, histories: HistorySource, catalog: Catalog, feedback: BoundFeedback
  ) -> "FeatureSet":
    """The set with encoders fitted on the data set's training part."""
    clock = Clock(histories.manifest.epoch_seconds, self.utc_offset_hours)
    if offers(histories, KnowsFeatures):
      fitted = histories.fitted_features(self.features, feedback, clock)
    else:
      fitted = fit_features(
        self.features,
        feedback,
        histories,
        catalog,
        Users(histories.directory),
        clock,
      )
    return dataclasses.replace(self, fitted=fitted)

  def of_moments(self, moments: Moments) -> Int[np.ndarray, "n Fc"]:
    """Table rows of the features of moments."""
    if self.fitted is None:
      return np.zeros((len(moments.ends), self.num_moment), np.int32)
    return self.fitted.context(moments)

  def asked(
    self,
    item: Int[np.ndarray, "..."],
    user: Int[np.ndarray, "..."],
    moment: Int[np.ndarray, "... Fc"],
  ) -> Int[np.ndarray, "... F"]:
    """Table rows of everything that is asked about.

    Args:
      item: indices; 0 is padding.
      user: indices; -1 is nobody known.
      moment: of `of_moments`.
    """
    rows = np.zeros((*item.shape, len(self.features)), np.int32)
    rows[..., self._places["item"]] = self._of("items", "item", item)
    rows[..., self._places["user"]] = self._of("users", "user", user + 1)
    rows[..., self._places["moment"]] = moment
    return rows

  def of_events(self, item: Int[np.ndarray, "..."]) -> Int[np.ndarray, "... G"]:
    """Table rows of the history's features of items."""
    places = np.searchsorted(self._places["item"], self.history_columns)
    return self._of("items", "item", item)[..., places]

  def of_users(
    self, user: Int[np.ndarray, "..."], columns: tuple[int, ...]
  ) -> Int[np.ndarray, "... G"]:
    """Table rows of some features of users.

    Args:
      user: indices; -1 is nobody known.
      columns: places of the features among all.
    """
    places = np.searchsorted(self._places["user"], columns)
    return self._of("users", "user", user + 1)[..., places]

  @functools.cached_property
  def _places(self) -> dict[str, list[int]]:
    """Places among all features of those of items, users and moments."""
    groups = {"item": ("item",), "user": ("user",), "moment": MOMENT}
    return {
      name: [i for i, f in enumerate(self.features) if f.side in sides]
      for name, sides in groups.items()
    }

  def _of(self, table: str, side: str, ids: np.ndarray) -> np.ndarray:
    if self.fitted is None:
      return np.zeros((*ids.shape, len(self._places[side])), np.int32)
    return getattr(self.fitted, table)[ids]
