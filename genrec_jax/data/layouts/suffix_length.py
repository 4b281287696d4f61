# SPDX-License-Identifier: Apache-2.0
"""Suffix length: long histories are mostly trained on by their last events.

    m = max(1, ceil(N x)),   x ~ Beta(a, b)       the last m events of a history

With a and b far below 1 it is either nearly all of N or very few: of a mean
N a / (a + b), most of what is computed is of histories in full. Published are a
"U-shaped Beta(.02, .02)" with a mean length of 2,000 and at most 10,000, which
one scale cannot make of it; a = .02 and b = .08 have that mean (arXiv
2511.06077, section on training sparsely and serving densely). It keeps order
and neighbours, as layouts.StochasticLength does not.
"""

import dataclasses
import math
from typing import ClassVar

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core.option_checks import check_positive


@dataclasses.dataclass(frozen=True)
class SuffixLength:
  """Chooses how many last events of a history to train on.

  Attributes:
    alpha: a, as of full histories.
    beta: b, as of short ones.
  """

  alpha: float = 0.02
  beta: float = 0.08

  keeps_last: ClassVar[bool] = True

  def __post_init__(self):
    check_positive(
      self, "config.pipeline.layout.stochastic_length", "alpha", "beta"
    )

  @property
  def mean_share(self) -> float:
    """Of N, before a history's own length limits it."""
    return self.alpha / (self.alpha + self.beta)

  def select(
    self,
    ages: Float[np.ndarray, "n"],
    max_length: int,
    rng: np.random.Generator,
  ) -> Int[np.ndarray, "m"]:
    """Places of the events to train on: the last ones.

    Args:
      ages: of the events, oldest first; only their number is read.
      max_length: N.
      rng: draws m.
    """
    length = len(ages)
    drawn = math.ceil(max_length * rng.beta(self.alpha, self.beta))
    return np.arange(length - min(length, max(1, drawn)), length)
