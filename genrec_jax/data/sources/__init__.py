# SPDX-License-Identifier: Apache-2.0
"""Where events come from: public data sets and one's own files."""

from genrec_jax.data.sources.amazon import Amazon2014
from genrec_jax.data.sources.files import Files
from genrec_jax.data.sources.kuairand import KuaiRand
from genrec_jax.data.sources.movielens import MovieLens
from genrec_jax.data.sources.online_retail import OnlineRetail
from genrec_jax.data.sources.otto import Otto
from genrec_jax.data.sources.retailrocket import RetailRocket
from genrec_jax.data.sources.tfds_dataset import TfdsDataset

__all__ = [
  "Amazon2014",
  "Files",
  "KuaiRand",
  "MovieLens",
  "OnlineRetail",
  "Otto",
  "RetailRocket",
  "TfdsDataset",
]
