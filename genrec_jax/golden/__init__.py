# SPDX-License-Identifier: Apache-2.0
"""Parity with golden values that the reference implementations computed."""

import numpy as np

from genrec_jax.golden import attention, models
from genrec_jax.golden.agreement import Agreement


def compare(path: str) -> list[Agreement]:
  """Compares what a golden file holds with what we compute.

  Raises:
    ValueError: a file of no known format, or one that lacks an array.
  """
  with np.load(path, allow_pickle=False) as file:
    data = {name: file[name] for name in file.files}
  if attention.holds_cases(data):
    return attention.compare(data, path)
  return models.compare(data, path)
