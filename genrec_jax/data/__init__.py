# SPDX-License-Identifier: Apache-2.0
"""From an event log to batches: ids, times, splits and schemas."""

from genrec_jax.data.schema import Codec, Manifest, RawLog, Record
from genrec_jax.data.splits import GlobalTime, LeaveOneOut
from genrec_jax.data.token_grammar import TokenGrammar

__all__ = [
  "Codec",
  "GlobalTime",
  "LeaveOneOut",
  "Manifest",
  "RawLog",
  "Record",
  "TokenGrammar",
]
