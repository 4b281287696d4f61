# SPDX-License-Identifier: Apache-2.0
"""Rows of features with the users who met the item before the request.

Beside what data/layouts/pointwise.py gives, of every position:

    audience_user_BLH  audience_action_BLH  audience_features_BLHG
                       1 + index of the user, 0 = none; bit mask; table rows of
                       the user's features; oldest first, right padded

An item is so a document of users, as a user is one of items by the history: the
transposed view of the log (Zhao et al., KDD 2023, arXiv 2305.15333). Which of
the two a model reads is up to its columns: a model of users' tokens has no row
of a table for an item, and one of items' tokens none for a user.

The list is of the moment at which the request was made
(data/dataset/audience.py): neither the position's own event is in it nor those
beside or after it. Behind frozen histories it ends where they do.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.dataset.audience import Audience, BoundAudience
from genrec_jax.data.features.moments import Moments
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.pointwise import PointwiseRows


@dataclasses.dataclass(frozen=True)
class AudienceRows(PointwiseRows):
  """See the module docstring.

  Attributes:
    audience: how much of it is told.
    audience_features: names of G user features that its users have.
    bound_audience: set by `bind`.
  """

  audience: Audience = Audience()
  audience_features: tuple[str, ...] = ()
  bound_audience: BoundAudience | None = None

  def __post_init__(self):
    super().__post_init__()
    users = [f.of for f in self.features if f.side == "user"]
    if not self.audience_features:
      raise ValueError(
        "audience_features is empty: name features of users, such as user.id,"
        " or use layouts.PointwiseRows."
      )
    wrong = [name for name in self.audience_features if name not in users]
    if wrong:
      raise ValueError(
        f"audience_features has {wrong[0]!r}: choose among the user features,"
        f" {', '.join(users) or 'of which there are none'}."
      )

  @property
  def num_columns(self) -> int:
    """Columns of an Example: the others, then the audience twice."""
    return super().num_columns + 2 * self.audience.length

  @property
  def audience_columns(self) -> tuple[int, ...]:
    """Places of audience_features among the features."""
    return self.feature_set.columns_of(self.audience_features)

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a system is built for other features."""
    seams.require(system, seams.AudienceModel, "config.system")
    super().check_system(system)

  def bind(self, artifacts: LayoutArtifacts) -> "AudienceRows":
    """The layout with encoders, and with who met what in the data set."""
    bound = super().bind(artifacts)
    audience = self.audience.bind(artifacts.histories, bound.bound_shown)
    return dataclasses.replace(bound, bound_audience=audience)

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """Names the columns of packed rows and looks features up; all int32."""
    others, own = np.split(rows_BLC, [-2 * self.audience.length], axis=2)
    batch = super().batch(others, segment_ids_BL, positions_BL)
    user, action = np.split(own, 2, axis=2)
    batch["audience_user_BLH"] = np.ascontiguousarray(user)
    batch["audience_action_BLH"] = np.ascontiguousarray(action)
    batch["audience_features_BLHG"] = self.feature_set.of_users(
      user - 1, self.audience_columns
    )
    return batch

  def _before(
    self,
    rows: np.ndarray,
    moments: Moments,
    user: int,
    rng: np.random.Generator | None = None,
  ) -> None:
    """Fills in the columns after the shared ones: what came before."""
    others, own = np.split(rows, [-2 * self.audience.length], axis=1)
    super()._before(others, moments, user, rng)
    who, action = self.bound_audience.of(moments.items, moments.known_until)
    own[:] = np.concatenate([who, action], axis=1)
