# SPDX-License-Identifier: Apache-2.0
"""A record of items that somebody names: a history of which nothing else is
known."""

from collections.abc import Sequence

import numpy as np

from genrec_jax.data.schema import Manifest, Record
from genrec_jax.data.times import int32_seconds


def record_of_items(manifest: Manifest, items: Sequence[int]) -> Record:
  """The items one by one, a median gap apart, by user -1.

  Args:
    manifest: of the data set, whose fields the record has.
    items: indices, oldest first.

  Raises:
    ValueError: so many that their times leave int32.
  """
  count = len(items)
  record = {"user": np.array(-1, np.int32), "item": np.array(items, np.int32)}
  # What came of them is not known, nor where; they were shown one by one.
  if "action" in manifest.fields:
    record["action"] = np.zeros(count, np.int32)
  if "value" in manifest.fields:
    record["value"] = np.full(count, np.nan, np.float32)
  if "request" in manifest.fields:
    record["request"] = np.arange(count, dtype=np.int32)
  if "scene" in manifest.fields:
    record["scene"] = np.zeros(count, np.int32)
  if "time" in manifest.fields:
    # Data with too few events to know a gap has events at one time.
    gap = manifest.median_gap_seconds or 0
    record["time"] = int32_seconds(
      np.arange(count, dtype=np.int64) * gap,
      f"{count} items, laid one median gap of {gap} s apart",
    )
  return record
