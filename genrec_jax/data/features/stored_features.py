# SPDX-License-Identifier: Apache-2.0
"""Fitted features as plain values and arrays, to be used without the histories
that they were fitted on.

    stored = StoredFeatures.of(fitted, features, histories)
    stored.values, stored.arrays              JSON-able; by name
    stored.fitted(features, feedback, catalog, clock)      a FittedFeatures

Rows of items and users are kept as they were looked up, of features of moments
the encoders; what computes their values is made anew. `recent` and `age` count
the training events of all users, `window` those of the whole log and what was
done: these are kept, and not whose they are.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from genrec_jax.core.artifact import content_hash
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.features.encoders import (
  UNSEEN,
  AtLeast,
  FittedEncoder,
  FittedPercentiles,
  FittedVocabulary,
  Hashed,
  LogBuckets,
)
from genrec_jax.data.features.features import (
  Feature,
  FittedFeatures,
  moment_functions,
  timed_events,
)
from genrec_jax.data.features.moments import Clock
from genrec_jax.data.features.windows import LoggedEvents

# Sides whose features count training events of all users.
_OF_EVENTS = ("recent", "age")
# Arrays of LoggedEvents, in its order.
_LOGGED = ("times_E", "items_E", "done_E")
# Encoders that have nothing but their options.
_PLAIN = {"Hashed": Hashed, "LogBuckets": LogBuckets, "AtLeast": AtLeast}


def state_of(encoder: FittedEncoder) -> dict[str, Any]:
  """A fitted encoder as JSON-able values.

  Raises:
    ValueError: an encoder of another kind than those of encoders.py.
  """
  kind = type(encoder).__name__
  if isinstance(encoder, FittedVocabulary):
    return {"kind": "Vocabulary", "values": list(encoder.rows)}
  if isinstance(encoder, FittedPercentiles):
    return {
      "kind": "Percentiles",
      "edges": encoder.edges.tolist(),
      "heavy": None if np.isnan(encoder.heavy) else encoder.heavy,
      "buckets": encoder.buckets,
    }
  if kind in _PLAIN:
    return {"kind": kind, **dataclasses.asdict(encoder)}
  raise ValueError(
    f"the encoder {kind} cannot be stored; those that can are"
    f" Vocabulary, Percentiles, {', '.join(_PLAIN)}."
  )


def encoder_of(state: Mapping[str, Any]) -> FittedEncoder:
  """The encoder of `state_of`."""
  values = dict(state)
  kind = values.pop("kind")
  if kind == "Vocabulary":
    rows = {value: i + UNSEEN + 1 for i, value in enumerate(values["values"])}
    return FittedVocabulary(rows)
  if kind == "Percentiles":
    heavy = np.nan if values["heavy"] is None else values["heavy"]
    edges = np.array(values["edges"], np.float64)
    return FittedPercentiles(edges, heavy, values["buckets"])
  return _PLAIN[kind](**values)


def key_of(
  features: tuple[Feature, ...], feedback: BoundFeedback, clock: Clock
) -> str:
  """Names what is fitted: equal options on equal data have equal keys."""
  return content_hash(repr(features), repr(feedback), repr(clock))


@dataclasses.dataclass(frozen=True, eq=False)
class StoredFeatures:
  """See the module docstring.

  Attributes:
    values: encoders of moments, and counts of the unseen.
    arrays: items and users by row, and events where they are counted.
  """

  values: dict[str, Any]
  arrays: dict[str, np.ndarray]

  @classmethod
  def of(
    cls,
    fitted: FittedFeatures,
    features: tuple[Feature, ...],
    histories: HistorySource,
  ) -> "StoredFeatures":
    """What was fitted; reads all histories where events are counted."""
    values = {
      "encoders": [state_of(encoder) for _, encoder in fitted.contexts],
      "unseen": dict(fitted.unseen),
    }
    arrays = {"items": fitted.items, "users": fitted.users}
    if any(f.side in _OF_EVENTS for f in features):
      times_E, items_E = timed_events(histories, fitted.feedback)
      arrays |= {"times_E": times_E, "items_E": items_E}
    if any(f.side == "window" for f in features):
      logged = LoggedEvents.of(histories, fitted.feedback)
      arrays |= {f"logged_{name}": getattr(logged, name) for name in _LOGGED}
    return cls(values, arrays)

  def fitted(
    self,
    features: tuple[Feature, ...],
    feedback: BoundFeedback,
    catalog: Catalog,
    clock: Clock,
  ) -> FittedFeatures:
    """The features as they were fitted."""
    functions = moment_functions(
      features,
      feedback,
      catalog.attributes,
      catalog.num_items,
      lambda: (self.arrays["times_E"], self.arrays["items_E"]),
      lambda: LoggedEvents(
        *(self.arrays[f"logged_{name}"] for name in _LOGGED), feedback.tasks
      ),
    )
    encoders = [encoder_of(state) for state in self.values["encoders"]]
    return FittedFeatures(
      items=self.arrays["items"],
      users=self.arrays["users"],
      contexts=tuple(zip(functions, encoders, strict=True)),
      clock=clock,
      feedback=feedback,
      unseen=self.values["unseen"],
    )
