# SPDX-License-Identifier: Apache-2.0
"""What a layout of events may say of them beside item and time.

    action_BL        what was done with an input, a bit per action of `actions`
    weight_BL        float32, how much a label counts (action_tables.py)
    group_slot_BL    which of the row's groups stands at a place, from 1 on;
                     0 = a single event (event_groups.py)
    group_item_BNG   members of the row's groups, and what was done with them,
    group_action_BNG oldest first

Each is there where its option is on. A place of a group has the item, the
action and the times of its newest event, and no label: labels begin behind it.
Examples hold weights by the bits of their float32.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.layouts.action_tables import (
  ActionTables,
  check_action_weights,
)
from genrec_jax.data.layouts.base import BaseLayout
from genrec_jax.data.layouts.event_groups import EventGroups
from genrec_jax.data.schema import Manifest, Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventColumns(BaseLayout):
  """See the module docstring; a subclass lays them out.

  Attributes:
    actions: that a model is told of, bit t for the t-th; () = none.
    target_actions: labels are events with one of these, and all others history
      alone; () = every event is a label.
    action_weights: how much a label of an action counts; 1 where nothing is
      said.
    value_weight: a label counts as much as its event's value, besides.
    missing_action: what an event without an action is taken for; None = an
      error.
    groups: old events that share places; None = events beyond max_length are
      dropped.
    action_tables: set by `bind`.
  """

  actions: tuple[str, ...] = ()
  target_actions: tuple[str, ...] = ()
  action_weights: Mapping[str, Any] | None = None
  value_weight: bool = False
  missing_action: str | None = None
  groups: EventGroups | None = None
  action_tables: ActionTables | None = None

  def __post_init__(self):
    check_action_weights(self.action_weights)
    if self.groups is not None:
      self.groups.check(self.max_length)

  @property
  def weighs(self) -> bool:
    """Whether labels count differently."""
    return bool(self.action_weights) or self.value_weight

  @property
  def further_widths(self) -> dict[str, int]:
    """Columns of an Example by what they hold; 0 of what is off."""
    size = self.groups.size if self.groups else 0
    return {
      "action": int(bool(self.actions)),
      "weight": int(self.weighs),
      "group_item": size,
      "group_action": size if self.actions else 0,
    }

  def tables(self, manifest: Manifest) -> ActionTables | None:
    """What actions mean; None where nothing asks for them.

    Raises:
      ValueError: weights of data without values, or actions that the data do
        not have.
    """
    if self.value_weight and "value" not in manifest.fields:
      raise ValueError(
        "config.pipeline.layout.value_weight=True, and the data set has no"
        " values: map a column of them (config.data.value), or set it to False."
      )
    if not (self.actions or self.target_actions or self.action_weights):
      if self.missing_action is not None:
        raise ValueError(
          f"config.pipeline.layout.missing_action={self.missing_action!r}, and"
          " the layout asks for no actions: leave it out."
        )
      return None
    return ActionTables.of(
      manifest,
      actions=self.actions,
      target_actions=self.target_actions,
      action_weights=self.action_weights,
      missing_action=self.missing_action,
    )

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system reads other than it is given."""
    reads = {"num_actions": 0, "groups": False}
    if seams.offers(system, seams.EventModel):
      reads = {"num_actions": system.num_actions, "groups": system.groups}
    given = {
      "num_actions": len(self.actions),
      "groups": self.groups is not None,
    }
    for name, value in given.items():
      if reads[name] != value:
        raise ValueError(
          f"config.system ({type(system).__name__}) has {name}={reads[name]},"
          f" and config.pipeline.layout makes it {value}"
          f" (actions={tuple(self.actions)}, groups={self.groups}): set"
          f" config.system.{name} to that, of a system that has it"
          " (models.NextItem)."
        )

  def _window(self, count: int) -> tuple[Int[np.ndarray, "n"], slice]:
    """The newest event of each place, and which events are in groups."""
    if self.groups is None:
      return np.arange(max(0, count - self.max_length), count), slice(0, 0)
    first, end = self.groups.cut(count, self.max_length)
    size = self.groups.size
    newest = np.arange(first + size - 1, end, size)
    at = np.concatenate([newest, np.arange(end, count)])
    return at, slice(first, end)

  def _groups_in(self, grouped: slice) -> int:
    """Groups of a window; they are its first places."""
    if self.groups is None:
      return 0
    return (grouped.stop - grouped.start) // self.groups.size

  def _inputs(
    self, record: Record, at: Int[np.ndarray, "n"], grouped: slice
  ) -> dict[str, np.ndarray]:
    """Columns of what is read at each place."""
    found = {"item": record["item"][at]}
    if "time" in record:
      found["time"] = record["time"][at]
    if self.actions:
      found["action"] = self._done(record, at)
    if self.groups is not None:
      shape = (len(at), self.groups.size)
      count = self._groups_in(grouped)
      members = {"group_item": record["item"][grouped]}
      if self.actions:
        members["group_action"] = self._done(record, grouped)
      for name, events in members.items():
        found[name] = np.zeros(shape, np.int32)
        found[name][:count] = events.reshape(count, self.groups.size)
    return found

  def _labels(
    self, record: Record, at: Int[np.ndarray, "n"]
  ) -> dict[str, np.ndarray]:
    """Columns of what is to be found: events `at`, where they are wanted."""
    label, weight = record["item"][at], np.ones(len(at), np.float32)
    if self.target_actions or self.action_weights:
      action = self.action_tables.places(record, at)
      label = np.where(self.action_tables.wanted_A[action], label, 0)
      weight = self.action_tables.weight_A[action]
    found = {"label": np.array(label)}
    if "time" in record:
      found["query_time"] = record["time"][at]
    if self.value_weight:
      weight = weight * _values(record, at, label > 0)
    if self.weighs:
      found["weight"] = weight.astype(np.float32).view(np.int32)
    return found

  def _done(self, record: Record, events: Any) -> Int[np.ndarray, "n"]:
    """What was done with events of a record, as bits."""
    return self.action_tables.mask_A[self.action_tables.places(record, events)]

  def _gathered(
    self, found: Mapping[str, np.ndarray], row_length: int
  ) -> dict[str, np.ndarray]:
    """The arrays of groups; none where they are off."""
    if self.groups is None:
      return {}
    names = ("item", "action") if self.actions else ("item",)
    blocks = {name: found[f"group_{name}"] for name in names}
    most = self.groups.most(row_length, self.max_length)
    return self.groups.gathered(blocks, most)


def _values(
  record: Record, at: Int[np.ndarray, "n"], is_label: np.ndarray
) -> Float[np.ndarray, "n"]:
  """Values of events as weights; ValueError where a label's is none."""
  value = np.where(is_label, record["value"][at], 1.0)
  wrong = np.flatnonzero(~(np.isfinite(value) & (value >= 0)))
  if len(wrong):
    raise ValueError(
      f"event {at[wrong[0]]} of user {int(record['user'])} has value"
      f" {value[wrong[0]]}, and config.pipeline.layout.value_weight=True weighs"
      " by it: values of labels must be numbers of 0 or more."
    )
  return value
