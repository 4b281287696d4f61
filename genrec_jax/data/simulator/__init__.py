# SPDX-License-Identifier: Apache-2.0
"""Simulated shoppers whose true model is known."""

from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.simulator.world import World

__all__ = [
  "Synthetic",
  "World",
]
