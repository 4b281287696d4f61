# SPDX-License-Identifier: Apache-2.0
"""Losses of preference as parts of a config: the best sample and the worst.

    config.objective = {"name": "objectives.WeightedSum",
      "objectives": {"codes": {"name": "objectives.CodeCrossEntropy", ...},
                     "preference": {"name": "objectives.DPO", "beta": .1}},
      "weights": {"codes": 1.0, "preference": .1}}

Of every request the sample of the highest reward is chosen and that of the
lowest is rejected ("self-hard", arXiv 2502.18965); SoftmaxDPO rejects all that
are worth less than the chosen one. Equal rewards go to the sample that was
drawn first. A request whose samples are all worth the same, or that has fewer
than two different ones, gives no pair, and `pairs` is the share of those that
do. The formulas, and what else is logged: objectives/preference.py. A sample's
log-probability is the sum over its codes.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from genrec_jax.core.option_checks import check_positive, check_shares
from genrec_jax.core.types import Batch, Items, Mean, Outputs, Samples
from genrec_jax.objectives.preference import dpo, ipo, softmax_dpo

Parts = dict[str, Mean]


class _Sums(NamedTuple):
  """Log-probabilities and rewards of whole samples (G, K)."""

  policy: Array
  reference: Array
  reward: Array
  where: Array


def best_and_worst(
  reward_GK: Float[Array, "G K"], where_GK: Bool[Array, "G K"]
) -> tuple[Array, Array, Array]:
  """Places of each group's best and worst sample (G,), and whether they differ.

  Rewards that are no numbers are never the best or the worst.
  """
  there_GK = where_GK & jnp.isfinite(reward_GK)
  high_GK = jnp.where(there_GK, reward_GK, -jnp.inf)
  low_GK = jnp.where(there_GK, reward_GK, jnp.inf)
  varied_G = jnp.max(high_GK, axis=1) > jnp.min(low_GK, axis=1)
  varied_G &= jnp.any(there_GK, axis=1)
  return jnp.argmax(high_GK, axis=1), jnp.argmin(low_GK, axis=1), varied_G


class _OfPairs:
  """What DPO and IPO share."""

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """Mean over pairs, with the share of requests that give one.

    Raises:
      ValueError: a run without samples, or without a reference.
    """
    del batch, rng, items, where, weights
    sums, asked_G = _sums(Samples.of(outputs))
    best_G, worst_G, varied_G = best_and_worst(sums.reward, sums.where)

    def of(values, place_G):
      return jnp.take_along_axis(values, place_G[:, None], axis=1)[:, 0]

    loss, parts = self._loss(
      of(sums.policy, best_G),
      of(sums.policy, worst_G),
      of(sums.reference, best_G),
      of(sums.reference, worst_G),
      where=varied_G,
    )
    return loss, {**parts, "pairs": _share(varied_G, asked_G)}


@dataclasses.dataclass(frozen=True)
class DPO(_OfPairs):
  """DPO, and cDPO with label smoothing.

  Attributes:
    beta: how dear it is to leave the reference.
    label_smoothing: share of the preferences taken to be wrong.
  """

  beta: float = 0.1
  label_smoothing: float = 0.0

  def __post_init__(self):
    check_positive(self, "config.objective", "beta")
    check_shares(self, "config.objective", "label_smoothing")

  def _loss(self, *log_probs, where):
    return dpo(
      *log_probs,
      beta=self.beta,
      label_smoothing=self.label_smoothing,
      where=where,
    )


@dataclasses.dataclass(frozen=True)
class IPO(_OfPairs):
  """IPO.

  Attributes:
    beta: the margin aimed at is 1 / (2 beta) nats.
  """

  beta: float = 0.1

  def __post_init__(self):
    check_positive(self, "config.objective", "beta")

  def _loss(self, *log_probs, where):
    return ipo(*log_probs, beta=self.beta, where=where)


@dataclasses.dataclass(frozen=True)
class SoftmaxDPO:
  """S-DPO: the best sample against all that are worth less.

  Attributes:
    beta: as in DPO.
  """

  beta: float = 0.1

  def __post_init__(self):
    check_positive(self, "config.objective", "beta")

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], Parts]:
    """Mean over requests with a worse sample; errors as of DPO."""
    del batch, rng, items, where, weights
    sums, asked_G = _sums(Samples.of(outputs))
    best_G, _, varied_G = best_and_worst(sums.reward, sums.where)

    def chosen(values):
      return jnp.take_along_axis(values, best_G[:, None], axis=1)[:, 0]

    worse_GK = sums.where & (sums.reward < chosen(sums.reward)[:, None])
    loss, parts = softmax_dpo(
      chosen(sums.policy),
      sums.policy,
      chosen(sums.reference),
      sums.reference,
      beta=self.beta,
      where=worse_GK & varied_G[:, None],
    )
    return loss, {**parts, "pairs": _share(varied_G, asked_G)}


def _sums(samples: Samples) -> tuple[_Sums, Array]:
  """Of whole samples, and which requests have any."""
  where_GKT = samples.where_GKT

  def total(values):
    return jnp.sum(jnp.where(where_GKT, values, 0.0), axis=2)

  sums = _Sums(
    total(samples.policy_GKT),
    total(samples.reference()),
    samples.reward_GK,
    samples.where_GK,
  )
  return sums, jnp.any(samples.where_GK, axis=1)


def _share(kept_G: Array, asked_G: Array) -> Mean:
  return Mean.of(kept_G.astype(jnp.float32), where=asked_G)
