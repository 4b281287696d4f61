# SPDX-License-Identifier: Apache-2.0
"""One user whose requests hold every case, as a data set of its own.

event    0 1   2 3   4   5   6 7
request  h h   1 1   2   3   4 4     h: a list without times
time     - -  10 10  20  30  40 40
"""

import dataclasses
import types

import numpy as np

from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.features.encoders import Percentiles, Vocabulary
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.features import Feature, FittedFeatures
from genrec_jax.data.features.moments import Clock, context_functions
from tests.data.layouts.parts_by_hand import ArtifactsByHand

ACTIONS = ["", "skip", "click", "like", "click|like", "untimed", "like|untimed"]
FEEDBACK = Feedback(("click", "like"))
NUM_ITEMS = 12


def user_record(action=(5, 6, 2, 1, 4, 2, 1, 3)) -> dict[str, np.ndarray]:
  """The record; actions are indices of ACTIONS."""
  columns = {
    "item": [1, 2, 3, 4, 5, 6, 7, 8],
    "time": [0, 0, 10, 10, 20, 30, 40, 40],
    "action": action,
    "request": [0, 0, 1, 1, 2, 3, 4, 4],
  }
  record = {name: np.array(x, np.int32) for name, x in columns.items()}
  return {"user": np.array(0, np.int32), **record}


class OneUser(Histories):
  """The record as histories; the last request does not train."""

  manifest = types.SimpleNamespace(actions=ACTIONS)

  def __init__(self, record=None, end=6):
    self.record = user_record() if record is None else record
    self.split = types.SimpleNamespace(
      train_end=lambda _: end,
      targets=lambda record, _: np.arange(end, len(record["item"])),
    )

  def __len__(self):
    return 1

  def __getitem__(self, user):
    return self.record

  def __repr__(self):
    return "OneUser()"


def bound(layout):
  """The layout with the meaning of ACTIONS, and its features fitted.

  Attributes of the user are 1, 2, ...
  """
  features, context = layout.features, layout.context
  layout = dataclasses.replace(layout, features=None, context=())
  layout = layout.bind(ArtifactsByHand(OneUser()))
  if context:
    values = 1 + np.arange(len(context), dtype=np.int32)[None]
    layout = dataclasses.replace(layout, context=context, context_UC=values)
  if features is None:
    return layout
  functions = context_functions(layout.bound_feedback)
  values = np.arange(8.0)
  fitted = FittedFeatures(
    items=np.array([[0, 0], *([1 + i % 2, i] for i in range(NUM_ITEMS))]),
    users=np.array([[0], [1]]),
    contexts=tuple(
      (functions[f.field], f.encoder.fit(values, np.ones(8, np.int64)))
      for f in features.features
      if f.side == "context"
    ),
    clock=Clock(0),
    feedback=layout.bound_feedback,
    unseen={},
  )
  return dataclasses.replace(
    layout, features=dataclasses.replace(features, fitted=fitted)
  )


# One of every kind; what a moment tells is all there is of labels.
FEATURES = FeatureSet(
  (
    Feature("context.past_click", Vocabulary(8)),
    Feature("item.color", Vocabulary(8)),
    Feature("context.past_like", Vocabulary(8)),
    Feature("user.id", Vocabulary(8)),
    Feature("context.gap", Percentiles(4)),
    Feature("item.id", Vocabulary(16)),
    Feature("context.events", Vocabulary(8)),
  ),
  ("item.id", "item.color"),
)
