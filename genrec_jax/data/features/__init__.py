# SPDX-License-Identifier: Apache-2.0
"""Features of items, users and moments, as rows of tables."""

from genrec_jax.data.features.encoders import (
  AtLeast,
  ByType,
  Hashed,
  LogBuckets,
  Percentiles,
  Vocabulary,
)
from genrec_jax.data.features.feature_set import FeatureSet
from genrec_jax.data.features.features import Feature
from genrec_jax.data.features.watch_percentiles import WatchPercentiles

__all__ = [
  "AtLeast",
  "ByType",
  "Feature",
  "FeatureSet",
  "Hashed",
  "LogBuckets",
  "Percentiles",
  "Vocabulary",
  "WatchPercentiles",
]
