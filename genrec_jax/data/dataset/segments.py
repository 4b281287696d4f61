# SPDX-License-Identifier: Apache-2.0
"""Segments of requests: by what is found, how new it is, and who looks for it.

    category    value of an attribute of the item; of several its first by name
    freshness   time since the item's first training event, as of the request
    activity    events of the user before the request

Each is known at the moment of the request, but for the item that is found. A
request has one segment of each kind, as its number among `names`.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.metrics.list_calibration import category_matrix

KINDS = ("category", "freshness", "activity")
# Of an attribute with more values, the others are one segment.
_MOST_CATEGORIES = 30
_DAYS = (7, 30, 90, 365)
_FRESHNESS = (
  "new",
  "under 7 days",
  "7 to 30 days",
  "30 to 90 days",
  "90 to 365 days",
  "over 365 days",
)
_EVENTS = (0, 5, 20, 50, 200)
_ACTIVITY = (
  "no event",
  "1-5 events",
  "6-20 events",
  "21-50 events",
  "51-200 events",
  ">200 events",
)
_LATER = np.iinfo(np.int64).max


@dataclasses.dataclass(frozen=True)
class Segments:
  """What tells the segments of requests.

  Attributes:
    names: of the segments, by kind.
    category_V1: number of each item's category; row 0 is padding.
    first_V1: time of each item's first training event; the largest int64 where
      there is none.
  """

  names: Mapping[str, Sequence[str]]
  category_V1: Int[np.ndarray, "V1"]
  first_V1: Int[np.ndarray, "V1"]

  @classmethod
  def build(
    cls,
    histories: HistorySource,
    catalog: Catalog,
    kinds: Sequence[str],
    attribute: str = "",
  ) -> "Segments":
    """Reads attributes and, for freshness, all users once.

    Raises:
      ValueError: an unknown kind or attribute, a category without attribute,
        or freshness of data without times.
    """
    check_kinds(kinds, attribute, catalog)
    names, category_V1 = {}, np.zeros(catalog.num_items + 1, np.int64)
    first_V1 = np.full(catalog.num_items + 1, _LATER)
    if "category" in kinds:
      names["category"], category_V1 = _categories(catalog, attribute)
    if "freshness" in kinds:
      names["freshness"] = _FRESHNESS
      for user in range(len(histories)):
        record = histories[user]
        if "time" not in record:
          raise ValueError(
            "freshness is told by times, and the data set has none: leave it"
            " out of kinds."
          )
        end = histories.split.train_end(record)
        np.minimum.at(first_V1, record["item"][:end], record["time"][:end])
    if "activity" in kinds:
      names["activity"] = _ACTIVITY
    return cls(
      {kind: tuple(names[kind]) for kind in kinds}, category_V1, first_V1
    )

  def of(
    self,
    items_E: Int[np.ndarray, "E"],
    times_E: Int[np.ndarray, "E"],
    lengths_E: Int[np.ndarray, "E"],
  ) -> dict[str, Int[np.ndarray, "E"]]:
    """Numbers of the segments of requests, by kind.

    Args:
      items_E: that are to be found.
      times_E: of the requests, seconds since the data set's epoch.
      lengths_E: events of the user before.
    """
    first_E = self.first_V1[items_E]
    known_E = first_E < times_E
    age_E = np.where(known_E, times_E - np.minimum(first_E, times_E), 0)
    fresh_E = np.searchsorted(np.array(_DAYS) * 86_400, age_E, side="right")
    found = {
      "category": self.category_V1[items_E],
      "freshness": np.where(known_E, fresh_E + 1, 0),
      "activity": np.searchsorted(_EVENTS, lengths_E, side="left"),
    }
    return {kind: found[kind] for kind in self.names}


def check_kinds(
  kinds: Sequence[str], attribute: str, catalog: Catalog | None = None
) -> None:
  """Raises a ValueError for kinds, or an attribute, that there are not.

  Args:
    kinds: of segments.
    attribute: that categories are values of.
    catalog: that must have it; None = not known yet.
  """
  for kind in kinds:
    if kind not in KINDS:
      raise ValueError(
        f"there are no segments by {kind!r}.{choices_hint(kind, KINDS)}"
      )
  if "category" in kinds and not attribute:
    raise ValueError(
      "segments by category need the attribute that has them: set attribute."
    )
  if catalog is None or "category" not in kinds:
    return
  known = catalog.known_attributes.columns
  if attribute not in known:
    raise ValueError(
      f"attribute={attribute!r} is no attribute of the items."
      f"{choices_hint(attribute, known)}"
    )


def _categories(
  catalog: Catalog, attribute: str
) -> tuple[list[str], Int[np.ndarray, "V1"]]:
  column = catalog.attributes[attribute]
  if column.dtype.is_float():
    column = column.fill_nan(None)
  values, has_V1G = category_matrix(column.to_list())
  has_V1G = has_V1G > 0
  largest = np.argsort(-has_V1G.sum(axis=0), kind="stable")[:_MOST_CATEGORIES]
  kept = np.sort(largest)
  names = [values[place] for place in kept] + ["other", "none"]
  own = np.argmax(has_V1G[:, kept], axis=1) if len(kept) else 0
  rest = np.where(has_V1G.any(axis=1), len(kept), len(kept) + 1)
  return names, np.where(has_V1G[:, kept].any(axis=1), own, rest)
