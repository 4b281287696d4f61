# SPDX-License-Identifier: Apache-2.0
"""What a model of codes is told of a history beside codes: events, and a user.

    event_features_BNG   features of each event's item
    event_action_BN      what was done with it, a bit mask
    event_watched_BN     how long it was watched: 1 + floor(q buckets), 0 = ?
    user_features_BNF    features of the user, where its slot is
    profile_BN           1 where a slot is the user's

N = L / M slots of M tokens. The first slot of a history is the user's own, and
each event has one; what is told of an event was known when it was over. It
belongs to layouts of prefixes and of targets behind one reading
(semantic_id_prefixes.py, token_targets.py), `with_items`.

OneRec-V2's context (arXiv 2508.20900, section 2) is a token of what the user
is, and one of each event: video, author, tag, play time, duration and label
side by side. Its pathways of short and of positive histories are one here, and
that of a lifelong history is left out.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts
from genrec_jax.data.dataset.feedback import BoundFeedback, Feedback
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.watch_percentiles import FittedPercentiles
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.schema import Record

_WHERE = "config.pipeline.layout.told"
_MOMENT = ("context", "affinity", "recent", "age")


@dataclasses.dataclass(frozen=True)
class ToldContext:
  """See the module docstring.

  Attributes:
    features: of items and users; `features.history` names those of events.
    shown: actions of the mask.
    watch_buckets: of q; needs the layout's `watched`. 0 = it is not told.
    percentiles: of the data set; set by `bind`.
    feedback: likewise.
  """

  features: FeatureSet
  shown: Feedback
  watch_buckets: int = 0
  percentiles: FittedPercentiles | None = None
  feedback: BoundFeedback | None = None

  def __post_init__(self):
    check_counts(self, _WHERE, "watch_buckets", least=0)
    wrong = [f.of for f in self.features.features if f.side in _MOMENT]
    if wrong:
      raise ValueError(
        f"{_WHERE}.features has {wrong[0]!r}, of a moment: events and users"
        " have features of items and users alone."
      )

  @property
  def num_columns(self) -> int:
    """Columns that it adds to an Example: action, bucket."""
    return 2

  def bind(
    self, artifacts: LayoutArtifacts, percentiles: FittedPercentiles | None
  ) -> "ToldContext":
    """With features of the data set, and play times where they are told.

    Raises:
      ValueError: play times are told, and nobody gives percentiles.
    """
    if self.watch_buckets and percentiles is None:
      raise ValueError(
        f"{_WHERE}.watch_buckets={self.watch_buckets} tells how long events"
        " were watched: set config.pipeline.layout.watched."
      )
    histories = artifacts.histories
    feedback = self.shown.bind(histories.manifest.actions)
    return dataclasses.replace(
      self,
      features=self.features.bind(histories, artifacts.catalog, feedback),
      percentiles=percentiles,
      feedback=feedback,
    )

  def rows(self, record: Record, user: int) -> Int[np.ndarray, "L C"]:
    """The columns of all events of a record.

    Args:
      record: a history, or its beginning.
      user: index; -1 = nobody known, whose play times are not either.
    """
    size = len(record["item"])
    rows = np.zeros((size, self.num_columns), np.int32)
    if not size:
      return rows
    rows[:, 0] = self.feedback.done(record)
    if self.watch_buckets and user >= 0:
      q = self.percentiles.of(user)[0][:size].astype(np.float64)
      bucket = 1 + np.floor(np.nan_to_num(q) * self.watch_buckets)
      bucket = np.minimum(bucket, self.watch_buckets)
      rows[:, 1] = np.where(np.isnan(q), 0, bucket)
    return rows

  def facts(
    self,
    item_BN: Int[np.ndarray, "B N"],
    user_BN: Int[np.ndarray, "B N"],
    segment_BN: Int[np.ndarray, "B N"],
    rows_BNC: Int[np.ndarray, "B N C"],
  ) -> dict[str, np.ndarray]:
    """Arrays of slots by name, int32.

    Args:
      item_BN: item of each event; 0 at a user's slot and at padding.
      user_BN: user index.
      segment_BN: 0 = padding.
      rows_BNC: the columns of `rows`.
    """
    profile_BN = (item_BN == 0) & (segment_BN > 0)
    moment_BN = np.zeros((*item_BN.shape, 0), np.int32)
    whose_BN = np.where(profile_BN, user_BN, -1)
    user_BNF = self.features.asked(np.zeros_like(item_BN), whose_BN, moment_BN)
    return {
      "event_features_BNG": self.features.of_events(item_BN).astype(np.int32),
      "event_action_BN": np.ascontiguousarray(rows_BNC[:, :, 0]),
      "event_watched_BN": np.ascontiguousarray(rows_BNC[:, :, 1]),
      "user_features_BNF": user_BNF.astype(np.int32),
      "profile_BN": profile_BN.astype(np.int32),
    }
