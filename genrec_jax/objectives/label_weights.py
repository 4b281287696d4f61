# SPDX-License-Identifier: Apache-2.0
"""How much a label counts: by its place, its time, and where it was shown.

    ByPlace        w = 2^(-(p_last - p) / half_life)   p: place in the example
    ByTime         w = 2^(-(t_end - t) / half_life)    t: when it was asked
    ByPropensity   w = 1 / P[slot]                     P: chance to be looked at

p_last is the last labelled place of the same example, t_end its last labelled
time, or a fixed one. Weights are multiplied and not normalised: a loss divides
by their sum over the batch, so that a constant factor changes nothing, and with
a fixed t_end an example whose labels are all old counts little beside one of
today. Half lives of a full length of tokens and of 60 days: arXiv 2602.12354.
"""

import dataclasses
import math
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Batch

_WHERE = "config.objective"
_DAY = 86_400.0


@runtime_checkable
class LabelWeight(Protocol):
  """What a loss asks of a batch."""

  def of(self, batch: Batch) -> Float[Array, "B L"]:
    """Weights of all positions, labelled or not."""


@dataclasses.dataclass(frozen=True)
class ByPlace:
  """Later places count more.

  Attributes:
    half_life: tokens towards the past after which a weight is half.
  """

  half_life: float

  def __post_init__(self):
    check_positive(self, f"{_WHERE}.label_weights", "half_life")

  def of(self, batch: Batch) -> Float[Array, "B L"]:
    """See the module docstring; 1 at an example's last label."""
    last_BL = _last_labelled(batch, "positions_BL")
    age_BL = jnp.maximum(last_BL - batch["positions_BL"], 0)
    return jnp.exp2(-age_BL.astype(jnp.float32) / self.half_life)


@dataclasses.dataclass(frozen=True)
class ByTime:
  """Later requests count more.

  Attributes:
    half_life_days: days towards the past after which a weight is half.
    end_seconds: t_end in seconds since the data set's epoch, what is asked
      later counts 1; None = the last labelled time of the same example, so that
      a user who left long ago counts as much as any.
  """

  half_life_days: float
  end_seconds: int | None = None

  def __post_init__(self):
    check_positive(self, f"{_WHERE}.label_weights", "half_life_days")

  def of(self, batch: Batch) -> Float[Array, "B L"]:
    """See the module docstring."""
    if self.end_seconds is None:
      end_BL = _last_labelled(batch, "query_time_BL")
    else:
      end_BL = jnp.full_like(batch["query_time_BL"], self.end_seconds)
    # Nothing that has a label lacks a time: 2^30 s of age are padding's.
    age_BL = jnp.maximum(end_BL - batch["query_time_BL"], 0)
    days_BL = age_BL.astype(jnp.float32) / _DAY
    return jnp.exp2(-days_BL / self.half_life_days)


@dataclasses.dataclass(frozen=True)
class ByPropensity:
  """Items in slots that few look at count more.

  Propensities are known or estimated elsewhere, such as from orders that were
  drawn at random; only their ratios matter to a weight. As a loss's
  `propensities` they divide labels instead, and must be chances
  (objectives/pointwise.py).

  Attributes:
    propensities: P of slots 1, 2, ..; later slots share the last.
    most: larger weights are cut to it, against variance; None = none is.
  """

  propensities: tuple[float, ...]
  most: float | None = None

  def __post_init__(self):
    where = f"{_WHERE}.ByPropensity"
    if not self.propensities:
      raise ValueError(f"{where}.propensities is empty: give one per slot.")
    for slot, chance in enumerate(self.propensities, 1):
      if not (0 < chance <= 1 and math.isfinite(chance)):
        raise ValueError(
          f"{where}.propensities: {chance!r} of slot {slot} must be above 0 and"
          " at most 1. What is never looked at has no label to learn from:"
          " leave such slots out of the log, or give the smallest share that"
          " was seen."
        )
    if self.most is not None and not self.most >= 1:
      raise ValueError(f"{where}.most={self.most} must be at least 1, or None.")

  def of(self, batch: Batch) -> Float[Array, "B L"]:
    """1 / P of each position's slot; of slot 0, which is none, 1.

    Raises:
      ValueError: a layout that tells no slots.
    """
    if "slot_BL" not in batch:
      raise ValueError(
        "objectives.ByPropensity reads slots, and the layout tells none: set"
        " config.pipeline.layout.num_slots."
      )
    table = [1.0, *(1.0 / chance for chance in self.propensities)]
    if self.most is not None:
      table = [min(weight, self.most) for weight in table]
    slot_BL = jnp.minimum(batch["slot_BL"], len(self.propensities))
    return jnp.asarray(table, jnp.float32)[slot_BL]


def power_propensities(num_slots: int, power: float) -> tuple[float, ...]:
  """P_k = k^-power: a one-parameter guess where nothing is estimated.

  Joachims, Swaminathan and Schnabel, WSDM 2017, section 5.

  Raises:
    ValueError: no slot, or a power below 0.
  """
  if num_slots < 1 or not 0 <= power < math.inf:
    raise ValueError(
      f"num_slots={num_slots} must be at least 1 and power={power} 0 or more."
    )
  return tuple(float(k) ** -power for k in range(1, num_slots + 1))


def _last_labelled(batch: Batch, name: str) -> Int[Array, "B L"]:
  """The largest value of an array at a label of the same example.

  Where an example has no label it is below all values.
  """
  segment_BL = batch["segment_ids_BL"]
  keep_BL = (batch["labelled_BL"] > 0) & (segment_BL > 0)
  least = jnp.iinfo(jnp.int32).min // 2
  value_BL = jnp.where(keep_BL, batch[name], least)
  length = segment_BL.shape[1]

  def of_row(value_L, segment_L):
    last_S = jnp.full(length + 1, least).at[segment_L].max(value_L)
    return last_S[segment_L]

  return jax.vmap(of_row)(value_BL, segment_BL)
