# SPDX-License-Identifier: Apache-2.0
"""What the actions of a data set mean to a layout: tables by action index.

    mask_A      what a model is told of such an event: a bit per action that it
                reads; 0 = the event has none of them
    wanted_A    whether such an event is a label
    weight_A    of such a label

An action is a text of several, joined by "|" (data/dataset/feedback.py): an
event is a label where any of them is wanted, and weighs as much as the heaviest
one. What was done later is no part of an event. An event may have no action at
all (index 0): it is taken for `missing`, or refused.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import numbers
from typing import Any

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.action_text import LATER, MARKS, words
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.schema import Manifest, Record

_WHERE = "config.pipeline.layout"


@dataclasses.dataclass(frozen=True)
class ActionTables:
  """See the module docstring; A counts the actions, index 0 among them.

  Attributes:
    names: the actions of the data set, for messages.
    refuses_missing: whether an event without an action is an error.
  """

  mask_A: Int[np.ndarray, "A"]
  wanted_A: Bool[np.ndarray, "A"]
  weight_A: Float[np.ndarray, "A"]
  names: tuple[str, ...]
  refuses_missing: bool

  @classmethod
  def of(
    cls,
    manifest: Manifest,
    *,
    actions: Sequence[str] = (),
    target_actions: Sequence[str] = (),
    action_weights: Mapping[str, Any] | None = None,
    missing_action: str | None = None,
  ) -> "ActionTables":
    """Those of a data set; arguments are layouts.NextItem's.

    Raises:
      ValueError: data without actions, or one that they do not have.
    """
    if "action" not in manifest.fields:
      raise ValueError(
        f"{_WHERE} asks for actions, and the data set has none: map a column"
        " of them (config.data.action), or leave actions, target_actions and"
        " action_weights out."
      )
    weights = {name: float(w) for name, w in (action_weights or {}).items()}
    missing = () if missing_action is None else (missing_action,)
    named = {
      "actions": actions,
      "target_actions": target_actions,
      "action_weights": tuple(weights),
      "missing_action": missing,
    }
    for name, wanted in named.items():
      _masks(manifest.actions, wanted, name)
    # As if the log had said it.
    texts = [missing_action or "", *manifest.actions[1:]]
    wanted_A = np.ones(len(texts), bool)
    if target_actions:
      wanted_A = _masks(texts, target_actions, "target_actions") > 0
    return cls(
      mask_A=_masks(texts, actions, "actions"),
      wanted_A=wanted_A,
      weight_A=np.array([_weight(x, weights) for x in texts], np.float32),
      names=tuple(manifest.actions[1:]),
      refuses_missing=missing_action is None,
    )

  def places(self, record: Record, events: Any) -> Int[np.ndarray, "..."]:
    """Action indices of some events of a record.

    Args:
      record: a user's.
      events: their places, an array or a slice.

    Raises:
      ValueError: one has no action, and nothing says what it is taken for.
    """
    found = record["action"][events]
    if self.refuses_missing and not found.all():
      at = np.arange(len(record["item"]))[events]
      raise ValueError(
        f"event {at[found == 0][0]} of a history has no action, and"
        f" {_WHERE} reads them: give each event its own (a history that is"
        " asked with has a column `action`), or say what such an event is"
        f" taken for, {_WHERE}.missing_action." + choices_hint("", self.names)
      )
    return found


def check_action_weights(action_weights: Mapping[str, Any] | None) -> None:
  """Raises a ValueError where a weight is no finite number of 0 or more."""
  for name, weight in (action_weights or {}).items():
    real = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    if not real or not 0 <= weight < math.inf:
      raise ValueError(
        f"{_WHERE}.action_weights[{name!r}]={weight!r} must be a number of 0 or"
        " more."
      )


def _masks(
  texts: Sequence[str], wanted: Sequence[str], name: str
) -> Int[np.ndarray, "A"]:
  """A bit per wanted action of each text."""
  if not wanted:
    return np.zeros(len(texts), np.int32)
  try:
    bound = Feedback(tuple(wanted)).bind(texts)
  except ValueError as error:
    raise ValueError(f"{_WHERE}.{name}: {error}") from None
  return np.array(bound.done_masks, np.int32)


def _weight(text: str, weights: Mapping[str, float]) -> float:
  """That of the heaviest action of a text; 1 where nothing is said."""
  done = {x for x in words(text) if not x.startswith(LATER)} - MARKS
  return max((weights.get(x, 1.0) for x in done), default=1.0)
