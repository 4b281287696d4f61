# SPDX-License-Identifier: Apache-2.0
"""Log loss, normalised entropy and calibration of predicted probabilities.

    log_loss    -mean[y ln p + (1 - y) ln(1 - p)]           p = sigmoid(logit)
    ne          log_loss / H(q),   H(q) = -[q ln q + (1 - q) ln(1 - q)]
    calibration sum p / sum y
    ece         sum_b n_b / n |mean p - mean y|     15 bins of equal mass

q is the mean label of the EVALUATED impressions, so a constant q has ne = 1
exactly (He et al., ADKDD 2014, take the training part's). All but ece are sums
and counts in float64; ece and its curve keep the probabilities. Equal ones
share a bin, so the order of impressions has no say. None where undefined.
"""

from __future__ import annotations

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.metrics.auc import check_scores

BINS = 15


def log_losses(
  logits: Float[np.ndarray, "*R"], positive: Bool[np.ndarray, "*R"]
) -> Float[np.ndarray, "*R"]:
  """Each impression's own, in float64; large logits do not overflow."""
  logits = logits.astype(np.float64)
  return np.logaddexp(0.0, np.where(positive, -logits, logits))


def probabilities(
  logits: Float[np.ndarray, "*R"],
) -> Float[np.ndarray, "*R"]:
  """Sigmoid in float64."""
  return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def entropy(share: Float[np.ndarray, "S"]) -> Float[np.ndarray, "S"]:
  """H(q) in nats, 0 at 0 and 1."""
  with np.errstate(divide="ignore", invalid="ignore"):
    terms = share * np.log(share), (1 - share) * np.log(1 - share)
  return -np.nan_to_num(terms[0]) - np.nan_to_num(terms[1])


@dataclasses.dataclass(frozen=True)
class PointwiseMetrics:
  """Sums over impressions."""

  log_loss: float = 0.0
  probability: float = 0.0
  positives: float = 0.0
  count: float = 0.0

  @classmethod
  def empty(cls) -> PointwiseMetrics:
    return cls()

  @classmethod
  def from_batch(
    cls,
    logits: Float[np.ndarray, "*R"],
    positive: Bool[np.ndarray, "*R"],
    *,
    where: Bool[np.ndarray, "*R"] | None = None,
  ) -> PointwiseMetrics:
    """Sums a batch of any shape; `where` drops impressions.

    Raises:
      ValueError: a logit that is not finite.
    """
    keep = np.ones(logits.shape, bool) if where is None else where
    logits, positive = logits[keep], positive[keep]
    check_scores(logits, positive)
    return cls(
      float(log_losses(logits, positive).sum()),
      float(probabilities(logits).sum()),
      float(positive.sum()),
      float(len(logits)),
    )

  def merge(self, other: PointwiseMetrics) -> PointwiseMetrics:
    """The state of both."""
    return PointwiseMetrics(
      self.log_loss + other.log_loss,
      self.probability + other.probability,
      self.positives + other.positives,
      self.count + other.count,
    )

  def compute(self) -> dict[str, float | None]:
    """ "log_loss", "ne", "calibration" and "base_rate"; None = undefined."""
    if not self.count:
      return dict.fromkeys(("log_loss", "ne", "calibration", "base_rate"))
    loss, rate = self.log_loss / self.count, self.positives / self.count
    nats = float(entropy(np.array([rate]))[0])
    return {
      "log_loss": loss,
      "ne": loss / nats if nats else None,
      "calibration": self.probability / self.positives
      if self.positives
      else None,
      "base_rate": rate,
    }


@dataclasses.dataclass(frozen=True)
class CalibrationMetrics:
  """Probabilities and labels of what has been seen, in chunks."""

  chunks: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

  @classmethod
  def empty(cls) -> CalibrationMetrics:
    return cls()

  @classmethod
  def from_batch(
    cls,
    logits: Float[np.ndarray, "*R"],
    positive: Bool[np.ndarray, "*R"],
    *,
    where: Bool[np.ndarray, "*R"] | None = None,
  ) -> CalibrationMetrics:
    """Keeps a batch of any shape; arguments as PointwiseMetrics."""
    keep = np.ones(logits.shape, bool) if where is None else where
    check_scores(logits[keep], positive[keep])
    return cls(((probabilities(logits[keep]), positive[keep]),))

  def merge(self, other: CalibrationMetrics) -> CalibrationMetrics:
    """The state of both."""
    return CalibrationMetrics(self.chunks + other.chunks)

  def curve(self, bins: int = BINS) -> dict[str, list[float]]:
    """ "predicted" and "observed" means and "count" of bins of equal mass.

    Lowest first; empty bins, which ties leave, are left out.
    """
    if not self.chunks:
      return {"predicted": [], "observed": [], "count": []}
    p, positive = map(np.concatenate, zip(*self.chunks, strict=True))
    place = _equal_mass(p, bins)
    count = np.bincount(place, minlength=bins)
    kept = count > 0

    def means(values):
      sums = np.bincount(place, weights=values, minlength=bins)
      return (sums[kept] / count[kept]).tolist()

    return {
      "predicted": means(p),
      "observed": means(positive),
      "count": count[kept].tolist(),
    }

  def compute(self, bins: int = BINS) -> dict[str, float | None]:
    """ "ece"; None without impressions."""
    curve = self.curve(bins)
    count = np.array(curve["count"])
    if not count.sum():
      return {"ece": None}
    gap = np.abs(np.array(curve["predicted"]) - np.array(curve["observed"]))
    return {"ece": float(np.average(gap, weights=count))}


def _equal_mass(p: Float[np.ndarray, "R"], bins: int) -> Int[np.ndarray, "R"]:
  """Bin of every probability by its mean rank."""
  _, run, count = np.unique(p, return_inverse=True, return_counts=True)
  middle = np.cumsum(count) - count / 2
  return np.minimum((bins * middle / len(p)).astype(np.int64), bins - 1)[run]
