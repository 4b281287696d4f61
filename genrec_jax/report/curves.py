# SPDX-License-Identifier: Apache-2.0
"""Which rows of metrics.jsonl are whose learning curve."""

from collections.abc import Mapping, Sequence
from typing import Any


def task_losses(
  rows: Sequence[Mapping[str, Any]], tasks: Sequence[str]
) -> list[str]:
  """Names of the tasks' losses: one of several objectives has a prefix."""
  names = dict.fromkeys(name for row in rows for name in row)
  return [
    name
    for name in names
    if name.startswith("train/") and name.rpartition("/")[2] in tasks
  ]
