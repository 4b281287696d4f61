# SPDX-License-Identifier: Apache-2.0
"""What every model is measured against, and the simulator's oracle."""

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.item_knn_in_time import ItemKNNInTime
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.oracle import TrueModel
from genrec_jax.baselines.recently_popular import RecentlyPopular

__all__ = [
  "ItemKNN",
  "ItemKNNInTime",
  "MostPopular",
  "RecentlyPopular",
  "TrueModel",
]
