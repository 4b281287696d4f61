# SPDX-License-Identifier: Apache-2.0
"""From an event log to prepared histories: sources, splits, tables.

    source.read() -> RawLog -> encode -> prepare -> Histories, Catalog, Users

NumPy and Polars only; nothing here imports JAX.
"""

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare.encoding import Sequences, encode
from genrec_jax.data.prepare.prepare import prepare
from genrec_jax.data.schema import Codec, Manifest, RawLog, Record
from genrec_jax.data.sources.amazon import Amazon2014
from genrec_jax.data.sources.files import Files
from genrec_jax.data.sources.kuairand import KuaiRand
from genrec_jax.data.sources.movielens import MovieLens
from genrec_jax.data.splits import GlobalTime, LeaveOneOut

__all__ = [
  "Amazon2014",
  "Catalog",
  "Codec",
  "Files",
  "GlobalTime",
  "Histories",
  "KuaiRand",
  "LeaveOneOut",
  "Manifest",
  "MovieLens",
  "RawLog",
  "Record",
  "Sequences",
  "Users",
  "encode",
  "prepare",
]
