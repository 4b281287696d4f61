# SPDX-License-Identifier: Apache-2.0
"""Stochastic length: long histories are mostly trained on in part.

A history of n inputs, of N at most, with threshold N^(alpha/2):

    n <= N^(alpha/2)                      kept whole
    otherwise, with N^alpha / n^2         kept whole
               else                       N^(alpha/2) of its inputs

so that attention costs E[length^2] = N^alpha (2 - N^alpha / n^2) < 2 N^alpha
whatever n is (arXiv 2402.17152, section 3.3.1, "SL"; alpha 1.6 takes 4,096
to 776). Which inputs stay is drawn without replacement, input i with weight

    1 - f_i / sum f,    f_i = age: seconds before the newest input

so recent ones are favoured, most where a few are far older than the others.
"""

import dataclasses
import math
from typing import ClassVar

from jaxtyping import Float, Int
import numpy as np


@dataclasses.dataclass(frozen=True)
class StochasticLength:
  """Chooses which inputs of a history to train on.

  Attributes:
    alpha: in (0, 2]; 2 keeps everything.
  """

  alpha: float

  # What stays are no neighbours: see history_window.py.
  keeps_last: ClassVar[bool] = False

  def __post_init__(self):
    if not 0 < self.alpha <= 2:
      raise ValueError(
        f"stochastic_length.alpha must be above 0 and at most 2, got"
        f" {self.alpha}; 1.6 keeps about a fifth of 4,096 events, 2 all."
      )

  def threshold(self, max_length: int) -> int:
    """N^(alpha/2): longest history that is always kept whole."""
    return math.floor(max_length ** (self.alpha / 2) + 1e-9)

  def keep_probability(self, length: int, max_length: int) -> float:
    """Probability that a history of `length` inputs is kept whole."""
    if length <= self.threshold(max_length):
      return 1.0
    return min(1.0, max_length**self.alpha / length**2)

  def expected_cost(self, length: int, max_length: int) -> float:
    """E[length^2] of what is trained on: pairs that attention computes."""
    keep = self.keep_probability(length, max_length)
    part = min(length, self.threshold(max_length))
    return keep * length**2 + (1 - keep) * part**2

  def select(
    self,
    ages: Float[np.ndarray, "n"],
    max_length: int,
    rng: np.random.Generator,
  ) -> Int[np.ndarray, "m"]:
    """Places of the inputs to train on, in their order.

    Args:
      ages: of the inputs, oldest first; seconds, or any unit.
      max_length: N.
      rng: draws first whether to keep all, then which to keep.
    """
    length = len(ages)
    everything = np.arange(length)
    if length <= self.threshold(max_length):
      return everything
    if rng.random() < self.keep_probability(length, max_length):
      return everything
    # The smallest of exponential times at rate w are a draw without
    # replacement at weights w.
    weights = recency_weights(ages)
    arrivals = rng.standard_exponential(length)
    with np.errstate(divide="ignore"):
      arrivals = arrivals / weights
    count = self.threshold(max_length)
    return np.sort(np.argpartition(arrivals, count - 1)[:count])


def recency_weights(ages: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
  """1 - f_i / sum f; all 1 where all ages are 0."""
  total = ages.sum()
  if total <= 0:
    return np.ones(len(ages))
  return 1 - ages / total
