# SPDX-License-Identifier: Apache-2.0
"""What crosses the seams: Batch, Outputs, SequenceInfo, Items, Mean, Samples.

Shape legend, used in names and annotations everywhere: B rows of a batch,
L positions of a row, D model width, H heads, K width of a head, A width of a
value head, V items, N negatives, T tokens (a flattened B x L).

A Batch is a dict with fixed keys and fixed shapes, made by a layout
(data/layouts/next_item.py). Rows are packed: several users may share one row,
told apart by segment ids 1, 2, ...; segment 0 is padding.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Batch = Mapping[str, Any]

# A size of an array: an int, or the symbol that jax.export has for one that is
# not known yet.
Dim = Any

# Stands for a time that is not known: 34 years before any data set's epoch.
UNKNOWN_TIME = -(2**30)

_struct = jax.tree_util.register_dataclass


@_struct
@dataclasses.dataclass(frozen=True)
class SequenceInfo:
  """What attention needs to know of packed rows, and nothing else.

  Leading dimensions before B appear where code maps over blocks of rows.

  Attributes:
    segment_ids_BL: 1, 2, ... per user within a row; 0 at padding.
    positions_BL: 0-based position within the segment.
    key_times_BL: seconds at which each event happened.
    query_times_BL: seconds at which each position asks: the time of the event
      it predicts (HSTU's t_{i+1}), or the time of the request when serving.
    roles_BL: of core/roles.py: EVENT, CONTEXT (a prefix that sees all events)
      or TARGET (a candidate, seen by itself alone), in this order: context,
      events, targets. None = all are events.
    limits_BL: how many of its segment's first positions each position sees,
      besides itself; -1 = what its role says. None = -1 everywhere.
  """

  segment_ids_BL: Int[Array, "*B L"]
  positions_BL: Int[Array, "*B L"]
  key_times_BL: Int[Array, "*B L"]
  query_times_BL: Int[Array, "*B L"]
  roles_BL: Int[Array, "*B L"] | None = None
  limits_BL: Int[Array, "*B L"] | None = None

  @classmethod
  def from_batch(cls, batch: Batch) -> "SequenceInfo":
    """Takes its arrays out of a batch."""
    return cls(
      segment_ids_BL=batch["segment_ids_BL"],
      positions_BL=batch["positions_BL"],
      key_times_BL=batch["time_BL"],
      query_times_BL=batch["query_time_BL"],
      roles_BL=batch.get("role_BL"),
      limits_BL=batch.get("limit_BL"),
    )

  @property
  def valid_BL(self) -> Bool[Array, "B L"]:
    """True where a position holds an event."""
    return self.segment_ids_BL > 0


@_struct
@dataclasses.dataclass(frozen=True)
class Outputs:
  """What a system returns. Fields a system has no use for stay None.

  Attributes:
    hidden: the backbone's output (B, L, D).
    query: what item vectors are scored with (B, L, D).
    item: item vectors that belong to the positions.
    logits: scores, for systems that compute them themselves.
    aux: anything else, by name.
    assign: parameters that the system sets itself, such as moving averages:
      path in the parameters (a tuple of names) -> (where, value), both of the
      parameter's shape. After the optimizer's update the train step puts the
      value where `where` holds.
  """

  hidden: Any = None
  query: Any = None
  item: Any = None
  logits: Any = None
  aux: Any = None
  assign: Any = None


class ItemData(NamedTuple):
  """What is known of a catalogue's items, by item id; row 0 is padding.

  Attributes:
    content: (V + 1, W), what an item is: float32, or int32 tokens.
    count: (V + 1,), its events in the training part.
    words: float32 (tokens, D), what vectors of tokens start as; None where
      content is no tokens.
  """

  content: Any
  count: Any
  words: Any = None


@dataclasses.dataclass(frozen=True)
class Items:
  """The item side of a system, bound to parameters for one step.

  Attributes:
    num_items: V; item ids run from 1 to V, 0 is padding.
    vectors: maps item ids of any shape to vectors, and None to the whole
      table (V + 1, D) with the padding row first.
    rows_only: no loss may read the whole table: devices share its rows, or
      its gradient is taken by row.
    seen: gives which rows are items with an event in the training part; None
      where the system does not know.
    peek: as `vectors`, of ids alone, for parameters that are constants; None
      where `vectors` will do.
  """

  num_items: int
  vectors: Callable[[Any], Float[Array, "... D"]]
  rows_only: bool = False
  seen: Callable[[], Bool[Array, "R"]] | None = None
  peek: Callable[[Any], Float[Array, "... D"]] | None = None

  def still(self, ids: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Vectors of ids that are only looked at: nothing trains them by it.

    An optimizer of single rows does not count them as rows of the batch.
    """
    look = self.vectors if self.peek is None else self.peek
    return jax.lax.stop_gradient(look(ids))

  def table(self) -> Float[Array, "rows D"]:
    """The whole table (V + 1, D); row 0 is padding.

    Raises:
      ValueError: where only rows can be had.
    """
    if self.rows_only:
      raise ValueError(
        "this loss reads the whole item table, which devices share by rows"
        " (config.mesh.preset) or which a row-wise optimizer updates"
        " (config.optimizer): use objectives.SampledSoftmax, or"
        " another preset with train.adamw."
      )
    return self.vectors(None)[: self.num_items + 1]


@_struct
@dataclasses.dataclass(frozen=True)
class Mean:
  """A mergeable weighted mean: the sum and the weight it is divided by.

  Attributes:
    total: weighted sum, a float32 scalar (on the device or the host).
    count: sum of the weights, likewise.
  """

  total: Any
  count: Any

  @classmethod
  def of(
    cls,
    values: Float[Array, "..."],
    where: Bool[Array, "..."] | None = None,
    weights: Float[Array, "..."] | None = None,
  ) -> "Mean":
    """Weighted sum and count of the values where `where` holds, in float32."""
    weight = jnp.ones(values.shape, jnp.float32)
    if weights is not None:
      weight = weight * weights.astype(jnp.float32)
    if where is not None:
      weight = jnp.where(where, weight, 0.0)
    # A masked value may be inf or nan; 0 * nan would leak into the sum.
    safe = jnp.where(weight != 0, values.astype(jnp.float32), 0.0)
    return cls(total=jnp.sum(safe * weight), count=jnp.sum(weight))

  def merge(self, other: "Mean") -> "Mean":
    """The mean over both sets of values."""
    return Mean(self.total + other.total, self.count + other.count)

  def compute(self) -> Float[Array, ""]:
    """total / count, and 0 where nothing was counted."""
    return self.total / jnp.where(self.count > 0, self.count, 1.0)


class Drawn(NamedTuple):
  """Samples of G requests, K of each, of N items and T codes.

  Attributes:
    item_GKN: items, 0 where there is none.
    codes_GKT: their codes.
    where_GK: which are samples.
  """

  item_GKN: Int[Array, "G K N"]
  codes_GKT: Int[Array, "G K T"]
  where_GK: Bool[Array, "G K"]


@_struct
@dataclasses.dataclass(frozen=True)
class Samples:
  """Samples of G requests, K of each, with what losses read of their T codes.

  Log-probabilities are float32; all but those of the policy are constants.

  Attributes:
    policy_GKT: under the parameters that are trained.
    old_GKT: under those that drew them.
    reference_GKT: under the reference; None where a run has none.
    reward_GK: of the samples.
    where_GK: which are samples.
    where_GKT: codes that count: those of samples, in places with an item.
  """

  policy_GKT: Float[Array, "G K T"]
  old_GKT: Float[Array, "G K T"]
  reference_GKT: Float[Array, "G K T"] | None
  reward_GK: Float[Array, "G K"]
  where_GK: Bool[Array, "G K"]
  where_GKT: Bool[Array, "G K T"]

  @classmethod
  def of(cls, outputs: Outputs) -> "Samples":
    """Those of a step's outputs.

    Raises:
      ValueError: the run draws none.
    """
    found = (outputs.aux or {}).get("samples")
    if found is None:
      raise ValueError(
        "config.objective is of samples, and this run draws none: name a"
        " config.rollout."
      )
    return found

  def reference(self) -> Float[Array, "G K T"]:
    """reference_GKT; ValueError where a run has none."""
    if self.reference_GKT is None:
      raise ValueError(
        "config.objective compares with a reference, and config.rollout keeps"
        " none: set its reference_steps (0 = what training starts from)."
      )
    return self.reference_GKT
