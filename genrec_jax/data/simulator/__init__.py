# SPDX-License-Identifier: Apache-2.0
"""Simulated users whose true model is known."""

from genrec_jax.data.simulator.growing_catalog import GrowingCatalog
from genrec_jax.data.simulator.long_memory import LongMemory
from genrec_jax.data.simulator.search_log import SearchLog
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.simulator.world import World

__all__ = [
  "GrowingCatalog",
  "LongMemory",
  "SearchLog",
  "Synthetic",
  "World",
]
