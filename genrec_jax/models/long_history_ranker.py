# SPDX-License-Identifier: Apache-2.0
"""Pointwise ranking behind a long history that is read once for all candidates.

    h      = pooling.encode(events, user and moment)         start: once a user
    u_n    = W pooling.read(h, candidate n, all features of n)     G vectors
    z_n    = head(MLP(interactions([x_n, u_n])))         candidates: any number

In all else it is models/feature_ranker.py, whose features and rows it shares:
LONGER (arXiv 2505.04421) as one more way to read a history. With `alone` the
head sees u alone, and every feature comes in through it.

A batch has a history for each position, or one for each row whose positions are
candidates of one request (`one_request` of the layout); serving always has the
latter. Training, whole rows and `start` with `candidates` give the same scores.
"""

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from genrec_jax.backbones.cross_causal import ReadHistory
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.history_events import history_events
from genrec_jax.models.feature_ranker import FeatureRanker


class LongHistoryRanker(FeatureRanker):
  """See the module docstring; `pooling` is a backbones.MergedHistory.

  Attributes:
    request_columns: places of the features of user and moment.
    history_seconds: how long ago events were, as the layout tells; "" = not.
    alone: the head reads the history's vectors and no others.
  """

  request_columns: tuple[int, ...] = ()
  history_seconds: str = ""
  alone: bool = False

  caches_history = True

  def __post_init__(self):
    super().__post_init__()
    if not self.history_columns:
      raise ValueError(
        "models.LongHistoryRanker reads events, and they have no features:"
        " name some in config.pipeline.layout.history_features."
      )
    if self.audience_columns:
      raise ValueError(
        "models.LongHistoryRanker reads the user's history, and"
        f" config.system.audience_columns={self.audience_columns} are of the"
        " item's audience: take models.FeatureRanker."
      )

  def setup(self):
    super().setup()
    width = len(self.history_columns) * self.width
    self.told = nn.Dense(width, dtype=self.dtype)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Places and gaps of events are few, and stay whole too."""
    return {
      **super().logical_axes,
      "position/embedding": (None, None),
      "gap/embedding": (None, None),
    }

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return bool(self.history_seconds)

  @property
  def history_group(self) -> int:
    """What the first event of a window must be a multiple of."""
    return self.pooling.history_group

  @property
  def max_history(self) -> int:
    """Most events of a history."""
    return self.pooling.max_history

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, T) in float32; 0 at padding."""
    history = self._read(batch, deterministic)
    return self._asked(history, batch, deterministic)

  def score(self, batch: Batch) -> Float[Array, "B N T"]:
    """Logits of the candidates of a batch of requests, one a row."""
    return self.candidates(self.start(batch), batch)

  def start(self, batch: Batch) -> ReadHistory:
    """What candidates need of rows of one request each."""
    return self._read({k: v[:, :1] for k, v in batch.items()}, True)

  def candidates(
    self, history: ReadHistory, batch: Batch
  ) -> Float[Array, "B N T"]:
    """Logits of N candidates behind each history; see none of each other.

    Args:
      history: of `start`.
      batch: features of the candidates, (B, N, F).
    """
    return self._asked(history, batch, True).logits

  def _read(self, batch: Batch, deterministic: bool) -> ReadHistory:
    """The histories of a batch: of every position, or of every row."""
    events_BSHE = history_events(
      batch,
      self.feature_embedding,
      self.history_columns,
      self.action,
      self.num_actions,
    )
    rows, each = events_BSHE.shape[:2]

    def flat(x_BSx):
      return x_BSx.reshape(rows * each, *x_BSx.shape[2:])

    seconds, user = None, None
    if self.history_seconds:
      seconds = flat(batch["history_seconds_BLH"])
    if self.request_columns:
      # Positions of one request are of one user and moment: the first will do.
      ids_BSF = batch["features_BLF"][:, :each, np.array(self.request_columns)]
      user = self.feature_embedding(ids_BSF, self.request_columns)
      user = user.reshape(rows * each, -1)
    return self.pooling.encode(
      flat(events_BSHE),
      seconds,
      flat(batch["history_item_BLH"] > 0),
      user,
      deterministic,
    )

  def _asked(
    self, history: ReadHistory, batch: Batch, deterministic: bool
  ) -> Outputs:
    """The outputs of positions, as many behind each history."""
    x_BLFD = self.feature_embedding(batch["features_BLF"])
    rows, length, _, width = x_BLFD.shape

    def behind(x_BLGD):
      number = rows * length // history.num_rows
      return x_BLGD.reshape(history.num_rows, number, -1)

    own_BLGD = x_BLFD[:, :, np.array(self.history_columns)]
    found = self.pooling.read(
      history, behind(own_BLGD), behind(x_BLFD), deterministic
    )
    told_BLGD = self.told(found).reshape(rows, length, -1, width)
    if not self.alone:
      dtype = x_BLFD.dtype
      told_BLGD = jnp.concatenate([x_BLFD, told_BLGD.astype(dtype)], axis=2)
    return self._outputs(told_BLGD, batch, deterministic)
