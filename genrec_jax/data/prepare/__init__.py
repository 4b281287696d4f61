# SPDX-License-Identifier: Apache-2.0
"""From a raw event log to a prepared data set."""

from genrec_jax.data.prepare.encoding import Sequences, encode
from genrec_jax.data.prepare.preparation import prepare

__all__ = [
  "Sequences",
  "encode",
  "prepare",
]
