# SPDX-License-Identifier: Apache-2.0
"""Residual codes drawn softly from one shared vocabulary, and when to stop.

    r_1 = z;  logits_t = -s |r_t - e_k|^2;  y_t = softmax((logits_t + g) / tau)
    r_{t+1} = r_t - sum_k y_tk e_k;         P(length = l) = softmax_l(W z + b)

A dVAE with Gumbel-softmax (noise g, in training alone) whose steps subtract
what they drew softly, so that gradients pass through all of them, and a stop
head of its own (arXiv 2602.16375). Without noise and as tau goes to 0 it is the
hard residual quantiser: each step takes its nearest code. All steps share the
codes; tau falls from `first_temperature` to `temperature` in `anneal_steps`
steps of training, which the layer counts itself.
Shapes: T vectors of width D, S steps, C codes.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.ops.kmeans import squared_distances


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SoftlyQuantized:
  """What soft quantisation makes of T vectors.

  Attributes:
    sums: (T, S, D), what the first 1, 2, .. S steps took off in all.
    log_p: (T, S, C), log-probabilities of codes without noise.
    lengths: (T, S), P(length = 1), .. P(length = S).
    age: steps of training so far.
    assign: path below the layer -> (where, value), see core/types.py.
  """

  sums: Any
  log_p: Any
  lengths: Any
  age: Any
  assign: Any


class SoftQuantizer(nn.Module):
  """See the module docstring.

  Attributes:
    level_sizes: of the hard codes, one a step: C, and C + 1 for all others,
      where the last code says "stopped".
    width: D.
    first_temperature: tau at the start.
    temperature: tau in the end.
    anneal_steps: steps of training in between.
  """

  level_sizes: tuple[int, ...]
  width: int
  first_temperature: float = 1.0
  temperature: float = 0.5
  anneal_steps: int = 500

  def __post_init__(self):
    super().__post_init__()
    first, *others = self.level_sizes
    if any(size != first + 1 for size in others):
      raise ValueError(
        f"level_sizes={tuple(self.level_sizes)}: all levels but the first have"
        f" one code more than it, {first + 1}, which says that the item's codes"
        " have ended."
      )
    where = "config.system.quantizer"
    check_positive(self, where, "temperature", "first_temperature")
    check_counts(self, where, "anneal_steps", least=0)

  def setup(self):
    shape = (self.level_sizes[0], self.width)
    self.embedding = self.param(
      "embedding", nn.initializers.normal(self.width**-0.5), shape
    )
    self.log_sharpness = self.param("log_sharpness", nn.initializers.zeros, ())
    self.age = self.param("age", nn.initializers.zeros, ())
    self.stop = nn.Dense(len(self.level_sizes))

  def __call__(
    self, z_TD: Float[Array, "T D"], *, train: bool
  ) -> SoftlyQuantized:
    """Quantises vectors; in training noise is drawn from stream "dropout"."""
    age = jax.lax.stop_gradient(self.age)
    left = jnp.maximum(0.0, 1 - age / max(self.anneal_steps, 1))
    tau = self.temperature
    tau = tau + (self.first_temperature - self.temperature) * left
    left_TD, total_TD = z_TD, jnp.zeros_like(z_TD)
    sums, log_p = [], []
    for _ in self.level_sizes:
      far_TC = squared_distances(left_TD, self.embedding)
      logits_TC = -jnp.exp(self.log_sharpness) * far_TC
      log_p.append(jax.nn.log_softmax(logits_TC, axis=1))
      if train:
        key = self.make_rng("dropout")
        logits_TC = logits_TC + jax.random.gumbel(key, logits_TC.shape)
      taken_TD = jax.nn.softmax(logits_TC / tau, axis=1) @ self.embedding
      left_TD, total_TD = left_TD - taken_TD, total_TD + taken_TD
      sums.append(total_TD)
    assign = {}
    if train:
      assign[("age",)] = jnp.ones((), bool), age + 1
    return SoftlyQuantized(
      sums=jnp.stack(sums, axis=1),
      log_p=jnp.stack(log_p, axis=1),
      lengths=jax.nn.softmax(self.stop(z_TD).astype(jnp.float32), axis=1),
      age=age,
      assign=assign,
    )
