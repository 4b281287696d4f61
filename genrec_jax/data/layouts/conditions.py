# SPDX-License-Identifier: Apache-2.0
"""What is known before an item, as rows of small tables; and what is asked.

    scene            where an item is shown (data/schema.py)
    slot             which of `size` equal parts of the local day, from 0 on
    item.ATTRIBUTE   the item's own, such as a genre: its most common values

Row 0 of every part is "not known": of an event without a time or a scene, of a
rare value, of a part that is hidden, and of one that a query does not name. A
query is a text of parts and values, and its own name:

    "scene=1"    "scene=1,slot=3"    "item.genres=Comedy"    "" = nothing known

Queries are fixed beforehand, so that what is answered is a function of a
history alone. An item's own attribute tells of the item: it is a condition of
training, and queries ask for its values alike, whatever is shown.
"""

from collections.abc import Mapping
import dataclasses
import functools

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts, check_shares
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.encoders import UNSEEN, Vocabulary
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.features import Feature
from genrec_jax.data.ids import text_of
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.prepare.attributes import scalars
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout.conditions"
_DAY, _HOUR = 86_400, 3_600
_SCENE, _SLOT, _ITEM = "scene", "slot", "item."


@dataclasses.dataclass(frozen=True)
class Condition:
  """One part of a condition.

  Attributes:
    of: what it is, see the module docstring.
    size: its values; rows of its table are one more.
  """

  of: str
  size: int

  def __post_init__(self):
    check_counts(self, _WHERE, "size")
    of_items = self.of.startswith(_ITEM) and self.of != _ITEM
    if self.of not in (_SCENE, _SLOT) and not of_items:
      raise ValueError(
        f"{_WHERE} has a condition of {self.of!r}."
        + choices_hint(self.of, (_SCENE, _SLOT, f"{_ITEM}ATTRIBUTE"))
      )


@dataclasses.dataclass(frozen=True, eq=False)
class BoundConditions:
  """What conditions mean in a data set.

  Attributes:
    values: of each part, the row of every value by its text.
    items_V1P: rows of the parts that are of items; 0 in all others.
    feedback: says which events have no time.
    shift: seconds from the data set's epoch's clock to the local one's; None
      where there are no times.
  """

  values: tuple[Mapping[str, int], ...]
  items_V1P: Int[np.ndarray, "V1 P"]
  feedback: BoundFeedback
  shift: float | None


@dataclasses.dataclass(frozen=True)
class Conditions:
  """The parts of a condition, and what is asked; see the module docstring.

  Attributes:
    parts: P of them.
    queries: Q texts, such as "scene=1".
    hidden: share of the parts of training events that are hidden at random, so
      that queries need not name all parts.
    utc_offset_hours: of the clock of slots.
    bound: set by `bind`.
  """

  parts: tuple[Condition, ...]
  queries: tuple[str, ...]
  hidden: float = 0.0
  utc_offset_hours: float = 0.0
  bound: BoundConditions | None = None

  def __post_init__(self):
    check_shares(self, _WHERE, "hidden")
    for name, found in (
      ("parts", [part.of for part in self.parts]),
      ("queries", list(self.queries)),
    ):
      if not found or len(set(found)) < len(found):
        raise ValueError(
          f"{_WHERE}.{name}={tuple(found)} must name at least one, each once."
        )
    # Says what is wrong with the queries.
    _ = self._asked

  @property
  def rows(self) -> tuple[int, ...]:
    """Rows of each part's table."""
    return tuple(part.size + 1 for part in self.parts)

  def bind(
    self, artifacts: LayoutArtifacts, feedback: BoundFeedback
  ) -> "Conditions":
    """The same of a data set.

    Raises:
      ValueError: data without what a part reads, more scenes than a part has
        rows, or a query for a value that there is not (names the choices).
    """
    manifest = artifacts.histories.manifest
    items_V1P = self._of_items(artifacts, feedback)
    values = [
      self._values(number, artifacts, items_V1P)
      for number in range(len(self.parts))
    ]
    shift = None
    if manifest.epoch_seconds is not None:
      shift = manifest.epoch_seconds + self.utc_offset_hours * _HOUR
    bound = BoundConditions(tuple(values), items_V1P, feedback, shift)
    found = dataclasses.replace(self, bound=bound)
    found.asked()
    return found

  def of_events(
    self, record: Record, events: Int[np.ndarray, "n"]
  ) -> Int[np.ndarray, "n P"]:
    """Conditions under which events of a record came."""
    rows = np.zeros((len(events), len(self.parts)), np.int32)
    if self.bound is None:
      return rows
    rows += self.bound.items_V1P[record["item"][events]]
    timed = ~self.bound.feedback.untimed(record)[events]
    for place, part in enumerate(self.parts):
      if part.of == _SCENE and _SCENE in record:
        rows[:, place] = record[_SCENE][events]
      if part.of == _SLOT and "time" in record:
        slots = self._slots(record["time"][events], part.size)
        rows[:, place] = np.where(timed, slots, 0)
    return rows

  def of_moment(self, seconds: int) -> Int[np.ndarray, "P"]:
    """What is known of a moment by its time alone."""
    rows = np.zeros(len(self.parts), np.int32)
    for place, part in enumerate(self.parts):
      if part.of == _SLOT:
        rows[place] = self._slots(np.array([seconds]), part.size)[0]
    return rows

  def hide(
    self, rows_nP: Int[np.ndarray, "n P"], rng: np.random.Generator | None
  ) -> Int[np.ndarray, "n P"]:
    """Conditions of training with some parts hidden; None hides nothing."""
    if rng is None or not self.hidden:
      return rows_nP
    return np.where(rng.random(rows_nP.shape) < self.hidden, 0, rows_nP)

  def asked(self) -> Int[np.ndarray, "Q P"]:
    """Conditions of the queries.

    Raises:
      ValueError: an unknown value.
    """
    rows = np.zeros((len(self.queries), len(self.parts)), np.int32)
    if self.bound is None:
      return rows
    for query, wanted in enumerate(self._asked):
      for place, value in wanted.items():
        known = self.bound.values[place]
        if value not in known:
          raise ValueError(
            f"{_WHERE}.queries asks {self.queries[query]!r}, and"
            f" {self.parts[place].of} has no value {value!r}."
            + choices_hint(value, known)
          )
        rows[query, place] = known[value]
    return rows

  @functools.cached_property
  def _asked(self) -> list[dict[int, str]]:
    """Of each query, the values by place of the part."""
    names, found = [part.of for part in self.parts], []
    for query in self.queries:
      words = [word.partition("=") for word in query.split(",") if query]
      said = [name for name, _, _ in words]
      for name, equals, _ in words:
        if name not in names or not equals or said.count(name) > 1:
          raise ValueError(
            f"{_WHERE}.queries has {query!r}, which must be PART=VALUE, several"
            f" parts with commas between.{choices_hint(name, names)}"
          )
      found.append({names.index(name): value for name, _, value in words})
    return found

  def _slots(
    self, seconds: Int[np.ndarray, "n"], size: int
  ) -> Int[np.ndarray, "n"]:
    """Rows of the parts of the day; 0 in data without times."""
    if self.bound is None or self.bound.shift is None:
      return np.zeros(len(seconds), np.int64)
    of_day = (seconds.astype(np.float64) + self.bound.shift) % _DAY
    return 1 + (of_day * size // _DAY).astype(np.int64)

  def _of_items(
    self, artifacts: LayoutArtifacts, feedback: BoundFeedback
  ) -> Int[np.ndarray, "V1 P"]:
    places = [
      place
      for place, part in enumerate(self.parts)
      if part.of.startswith(_ITEM)
    ]
    rows = np.zeros((len(artifacts.catalog.ids), len(self.parts)), np.int32)
    if places:
      parts = [self.parts[place] for place in places]
      features = FeatureSet(
        tuple(Feature(part.of, Vocabulary(part.size)) for part in parts)
      ).bind(artifacts.histories, artifacts.catalog, feedback)
      # The rare are not known, as what is missing.
      rows[:, places] = np.maximum(features.fitted.items - UNSEEN, 0)
    return rows

  def _values(
    self,
    number: int,
    artifacts: LayoutArtifacts,
    items_V1P: Int[np.ndarray, "V1 P"],
  ) -> dict[str, int]:
    """The row of every value of a part by its text."""
    part, manifest = self.parts[number], artifacts.histories.manifest
    if part.of == _SCENE:
      scenes = manifest.scenes[1:]
      if not scenes or len(scenes) > part.size:
        raise ValueError(
          f"{_WHERE} has {part.size} scenes, and the data set"
          f" {len(scenes)}: "
          + (
            "set size to at least that."
            if scenes
            else "take a source that reads them, or leave the part out."
          )
        )
      return {scene: row for row, scene in enumerate(scenes, 1)}
    if part.of == _SLOT:
      if manifest.epoch_seconds is None:
        raise ValueError(
          f"{_WHERE} has slots of the day, and the data set has no times: map a"
          " timestamp column, or leave the part out."
        )
      return {str(slot): slot + 1 for slot in range(part.size)}
    field, catalog = part.of[len(_ITEM) :], artifacts.catalog
    column = catalog.ids[1:]
    if field != "id":
      column = scalars(catalog.attributes[field]).to_list()
    rows = items_V1P[1:, number].tolist()
    pairs = zip(column, rows, strict=True)
    return {text_of(value): row for value, row in pairs if row}
