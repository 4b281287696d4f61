# SPDX-License-Identifier: Apache-2.0
"""How a log with one row per action becomes impressions with labels.

    ActionLog(("view", "cart", "buy"), window_hours=24)

Such a log does not say what was shown. It is assumed, and nothing else: each
row of the weakest action is an impression, whose labels are the stronger
actions that the same user took on the same item within the window after it.
Rows of one visit are one impression, the first; a visit ends where a user does
nothing for `visit_minutes`. What nobody viewed is no negative.
data/prepare/labels.py does it.
"""

from collections.abc import Sequence
import dataclasses
import math

from genrec_jax.data.action_text import LATER, MARKS, SEPARATOR


@dataclasses.dataclass(frozen=True)
class ActionLog:
  """See the module docstring.

  Attributes:
    actions: the weakest first, which says that an item was shown.
    window_hours: how long after an impression an action counts as its label.
    visit_minutes: without any row that end a visit.
  """

  actions: Sequence[str]
  window_hours: float = 24.0
  visit_minutes: float = 30.0

  def __post_init__(self):
    names = tuple(self.actions)
    if len(names) < 2 or len(set(names)) < len(names):
      raise ValueError(
        f"impressions={names} must name the action that says an item was shown,"
        " and then at least one stronger action, each once."
      )
    for name in names:
      if name in MARKS or SEPARATOR in name or name.startswith(LATER):
        raise ValueError(
          f"impressions has the action {name!r}, a word of the prepared data:"
          " rename it in the log."
        )
    for field, least in (("window_hours", 0.0), ("visit_minutes", 0.0)):
      value = getattr(self, field)
      if not (math.isfinite(value) and value > least):
        raise ValueError(f"{field}={value} must be above {least:g} and finite.")
