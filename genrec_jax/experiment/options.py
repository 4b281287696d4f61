# SPDX-License-Identifier: Apache-2.0
"""Options of a program: config.pipeline and config.eval as values.

Both give shapes: rows and tokens of a training batch, requests of a batch that
is ranked or scored. config.train is in train/loop.py, config.mesh in
core/sharding.py.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from genrec_jax.core.build import build_options


@dataclasses.dataclass(frozen=True)
class PipelineOptions:
  """config.pipeline.

  Attributes:
    layout: turns histories into examples.
    batch_size: rows of the global batch.
    row_length: tokens of a row; several users share one.
    readers: parts that users and rows of a batch are dealt into. The order of
      the data depends on it and not on the number of processes, which read
      one or several parts each, or share one.
  """

  layout: Any
  batch_size: int
  row_length: int
  readers: int = 1


@dataclasses.dataclass(frozen=True)
class EvalOptions:
  """config.eval.

  Attributes:
    batch_size: requests at a time.
    filter_history: hide a user's earlier items from the candidates.
    ks: cut-offs of the metrics.
  """

  batch_size: int = 128
  filter_history: bool = True
  ks: tuple[int, ...] = (1, 5, 10, 50, 200)

  @classmethod
  def of(cls, node: Mapping[str, Any]) -> "EvalOptions":
    """Options of config.eval; of a validator with a name, those it has too."""
    if "name" not in node:
      return build_options(cls, node, where="config.eval")
    names = {field.name for field in dataclasses.fields(cls)} & node.keys()
    return build_options(
      cls, {name: node[name] for name in names}, where="config.eval"
    )
