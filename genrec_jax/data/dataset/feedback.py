# SPDX-License-Identifier: Apache-2.0
"""What a user did with an item: a text of actions -> a bit mask of tasks.

    Feedback(("click", "long_view", "like")).bind(manifest.actions)
    "click|long_view" -> 0b011      "skip" -> 0, known      "" -> 0, not known

A record's `action` is everything the user did with an item, actions joined by
"|"; index 0 is the empty text, nothing known. An impression without any signal
has an action of its own ("skip"), so that it differs from what nobody observed.
The action "untimed" marks an event whose time is not known: it may be read as
history and is never asked about; so does "unasked" of one at a known time.
"view|later:cart" is an impression that a cart followed: a label, but not what
was done at the time, so whoever reads a history before the cart must not see
it. Where the log has a number and no actions (ratings), `min_value` makes one
task of it: bit 0 is value >= min_value.
"""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.action_text import (
  LATER,
  MARKS,
  SEPARATOR,
  UNASKED,
  UNTIMED,
)
from genrec_jax.data.schema import Record

# An int32 mask has a sign bit.
_MAX_TASKS = 31


def untimed_actions(actions: Sequence[str]) -> tuple[bool, ...]:
  """Which actions say that the time of an event is not known."""
  return tuple(UNTIMED in action.split(SEPARATOR) for action in actions)


@dataclasses.dataclass(frozen=True)
class BoundFeedback:
  """Feedback of one data set's records.

  Attributes:
    tasks: bit t of a mask is tasks[t].
    masks: of every action index, what followed included.
    done_masks: of what was done at the time alone.
    untimed_actions: whether an action index says "untimed".
    unasked_actions: likewise "unasked".
    min_value: see Feedback.
  """

  tasks: tuple[str, ...]
  masks: tuple[int, ...]
  done_masks: tuple[int, ...]
  untimed_actions: tuple[bool, ...]
  unasked_actions: tuple[bool, ...]
  min_value: float | None = None

  @property
  def num_tasks(self) -> int:
    """T."""
    return len(self.tasks)

  def bits(self, record: Record) -> Int[np.ndarray, "L"]:
    """Labels of every event as a bit mask; 0 where nothing is known."""
    return self._bits(record, self.masks)

  def done(self, record: Record) -> Int[np.ndarray, "L"]:
    """Likewise what was done at the event's own time: all a history shows."""
    return self._bits(record, self.done_masks)

  def _bits(
    self, record: Record, masks: tuple[int, ...]
  ) -> Int[np.ndarray, "L"]:
    if self.min_value is None:
      return np.array(masks, np.int32)[_action(record)]
    # A missing value is NaN, which is at least nothing.
    return (_value(record) >= self.min_value).astype(np.int32)

  def known(self, record: Record) -> Bool[np.ndarray, "L"]:
    """Whether an event has labels."""
    if self.min_value is None:
      return _action(record) > 0
    return ~np.isnan(_value(record))

  def untimed(self, record: Record) -> Bool[np.ndarray, "L"]:
    """Whether the time of an event is not known."""
    if "action" not in record:
      return np.zeros(len(record["item"]), bool)
    return np.array(self.untimed_actions, bool)[record["action"]]

  def asked(self, record: Record) -> Bool[np.ndarray, "L"]:
    """Whether an event can be asked about: labelled, and at a known time."""
    asked = self.known(record) & ~self.untimed(record)
    if "action" in record:
      asked &= ~np.array(self.unasked_actions, bool)[record["action"]]
    return asked


@dataclasses.dataclass(frozen=True)
class Feedback:
  """What is predicted of an event.

  Attributes:
    tasks: actions, in the order of the logits; with min_value, the one task's
      name.
    min_value: the one task is value >= min_value.
  """

  tasks: tuple[str, ...]
  min_value: float | None = None

  def __post_init__(self):
    if not 0 < len(self.tasks) <= _MAX_TASKS:
      raise ValueError(
        f"feedback has {len(self.tasks)} tasks; give 1 to {_MAX_TASKS}."
      )
    if len(set(self.tasks)) < len(self.tasks):
      raise ValueError(f"tasks={self.tasks} names one twice; name each once.")
    if self.min_value is not None and len(self.tasks) > 1:
      raise ValueError(
        f"tasks={self.tasks} with min_value={self.min_value}: a value makes"
        " one task; name one, or leave min_value out."
      )

  @property
  def num_tasks(self) -> int:
    """T."""
    return len(self.tasks)

  def bind(self, actions: Sequence[str]) -> BoundFeedback:
    """Feedback of records whose actions are these (manifest.actions).

    Raises:
      ValueError: a task that is none of the actions.
    """
    done = [frozenset(action.split(SEPARATOR)) for action in actions]
    single = [
      frozenset(name.removeprefix(LATER) for name in found) for found in done
    ]
    known = sorted(frozenset().union(*single) - MARKS)
    if self.min_value is None:
      for task in self.tasks:
        if task not in known:
          hint = choices_hint(task, known) if known else " It has none."
          raise ValueError(f"the data set has no action {task!r}.{hint}")
    return BoundFeedback(
      tasks=self.tasks,
      masks=self._masks(single),
      done_masks=self._masks(done),
      untimed_actions=untimed_actions(actions),
      unasked_actions=tuple(UNASKED in found for found in done),
      min_value=self.min_value,
    )

  def _masks(self, names: Sequence[frozenset[str]]) -> tuple[int, ...]:
    return tuple(
      sum((task in found) << bit for bit, task in enumerate(self.tasks))
      for found in names
    )


def _action(record: Record) -> Int[np.ndarray, "L"]:
  if "action" not in record:
    raise ValueError(
      "the records have no actions, and feedback without a min_value needs"
      " them: map an action column, or give feedback a min_value."
    )
  return record["action"]


def _value(record: Record) -> np.ndarray:
  if "value" not in record:
    raise ValueError(
      "the records have no values, and feedback with min_value needs them: map"
      " a value column, or leave min_value out and name actions."
    )
  return record["value"]
