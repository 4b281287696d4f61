# SPDX-License-Identifier: Apache-2.0
"""Options of a program: config.pipeline and config.requests as values.

Both give shapes: rows and tokens of a training batch, requests of a batch that
is ranked or scored. config.train is in train/loop.py, config.mesh in
core/sharding.py.
"""

import dataclasses

from genrec_jax.core.seams import Layout


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

  layout: Layout
  batch_size: int
  row_length: int
  readers: int = 1


@dataclasses.dataclass(frozen=True)
class RequestOptions:
  """config.requests.

  Attributes:
    batch_size: requests at a time.
    num_results: items of a list, for which programs are compiled ahead.
  """

  batch_size: int = 128
  num_results: int = 200
