# SPDX-License-Identifier: Apache-2.0
"""What a user may be said to have done, as the fields of an event.

    named("like|click")     {"action": 14}      an action of the data set
    likely([.9, .2])        the one that the probabilities say
    named("4")              {"value": 4.0}      where values make the task

Lists that assume what happens to their first items, and questions of the kind
"what if it had been a skip", make events that nobody logged.
"""

from collections.abc import Mapping, Sequence
import dataclasses

from jaxtyping import Bool, Float
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.action_text import (
  MARKS,
  SEPARATOR,
  SKIP,
  UNTIMED,
  places,
  words,
)
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.schema import Record

Fields = Mapping[str, int | float]


@dataclasses.dataclass(frozen=True)
class Actions:
  """See the module docstring.

  Attributes:
    vocabulary: manifest.actions.
    feedback: what the model predicts.
  """

  vocabulary: Sequence[str]
  feedback: Feedback

  def named(self, text: str, *, untimed: bool = False) -> Fields:
    """The fields of actions joined in any order, or of a value.

    Args:
      text: what came of the item.
      untimed: of an event whose time is not known, and stays so.

    Raises:
      ValueError: actions that no event of the data set has together, or no
        number where the task is a value.
    """
    if self.feedback.min_value is not None:
      try:
        return {"value": float(text)}
      except ValueError as e:
        raise ValueError(
          f"action {text!r} must be a number: {self.feedback.tasks[0]} is a"
          f" value of at least {self.feedback.min_value:g}."
        ) from e
    wanted = words(text)
    if untimed:
      wanted = wanted - {SKIP} | {UNTIMED}
      text = SEPARATOR.join(sorted(wanted))
    index = places(self.vocabulary[1:]).get(wanted)
    if index is not None:
      return {"action": index + 1}
    raise ValueError(
      f"the data set has no action {text!r}."
      + choices_hint(text, self.vocabulary[1:])
    )

  def likely(
    self, probabilities_T: Float[np.ndarray, "T"], *, untimed: bool = False
  ) -> Fields:
    """The most likely outcome, tasks taken as independent.

    Among the combinations of tasks that the data set has; of actions with the
    same tasks the one that says least besides.

    Args:
      probabilities_T: of the tasks.
      untimed: of an event whose time is not known.

    Raises:
      ValueError: no action of the data set is of such an event.
    """
    if self.feedback.min_value is not None:
      least = np.float32(self.feedback.min_value)
      below = np.nextafter(least, np.float32(-np.inf))
      return {"value": float(least if probabilities_T[0] >= 0.5 else below)}
    bound = self.feedback.bind(self.vocabulary)
    fits = [
      index
      for index, without_time in enumerate(bound.untimed_actions)
      if index and without_time == untimed
    ]
    if not fits:
      raise ValueError(
        f"none of the data set's {len(self.vocabulary) - 1} actions is of an"
        f" event {'without' if untimed else 'with'} a time, so none can be"
        " assumed of one: prepare data that have such actions."
      )

    def key(index):
      did_T = bound.done_masks[index] >> np.arange(bound.num_tasks) & 1
      likelihood = np.where(did_T, probabilities_T, 1 - probabilities_T).prod()
      said = words(self.vocabulary[index]) - MARKS
      return float(likelihood), -len(said)

    return {"action": max(fits, key=key)}

  def untimed(self, record: Record) -> Bool[np.ndarray, "L"]:
    """Whether the time of an event is not known."""
    return self.feedback.bind(self.vocabulary).untimed(record)

  def text(self, fields: Fields) -> str:
    """How `named` would have it; '' where nothing is known."""
    if self.feedback.min_value is not None:
      value = float(fields.get("value", np.nan))
      return "" if np.isnan(value) else f"{value:g}"
    return self.vocabulary[int(fields.get("action", 0))]
