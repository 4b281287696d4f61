# SPDX-License-Identifier: Apache-2.0
"""Seconds of the very step that scripts/train.py runs, on full rows.

Rows are random events, one user each, so no data is needed. The first steps
are left out; the median of the others counts.
"""

from collections.abc import Mapping
import resource
import statistics
import time
from typing import Any

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.experiment.program import Program
from genrec_jax.train.state import num_parameters

_EPOCH_SECONDS = 90 * 24 * 3600
_WARM_UP = 2


def time_train_step(
  config: Mapping[str, Any], *, num_items: int, events: int, steps: int
) -> dict[str, Any]:
  """Median seconds of a train step, after compilation.

  Args:
    config: plain and checked; its pipeline says the shapes.
    num_items: V.
    events: of every row, at most the row's length.
    steps: timed.
  """
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  program = Program.from_config(config, num_items, mesh.place())
  pipeline = program.pipeline
  batch = sharding.put(
    _full_batch(pipeline, events, num_items), program.placement.by_rows
  )
  with program.in_force():
    state = program.init_state()
    parameters = num_parameters(state.params)
    started = time.perf_counter()
    compiled = program.train_step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - started
    seconds = []
    for _ in range(steps + _WARM_UP):
      started = time.perf_counter()
      state, metrics = jax.block_until_ready(compiled(state, batch))
      seconds.append(time.perf_counter() - started)
  seconds = seconds[_WARM_UP:]
  median = statistics.median(seconds)
  return {
    "seconds_per_step": round(median, 5),
    "seconds_min": round(min(seconds), 5),
    "tokens_per_second": round(pipeline.batch_size * events / median),
    "compile_seconds": round(compile_seconds, 2),
    "peak_memory_bytes": _peak_memory(),
    "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    "loss": round(float(metrics["loss"]), 4),
    "parameters": parameters,
    "rows": pipeline.batch_size,
    "row_length": pipeline.row_length,
    "events_per_row": events,
    "num_items": num_items,
  }


def _full_batch(
  pipeline: PipelineOptions, events: int, num_items: int
) -> dict[str, np.ndarray]:
  """Every row one user with `events` events and as many labels."""
  rng = np.random.default_rng(0)
  layout, length = pipeline.layout, pipeline.row_length
  shape = (pipeline.batch_size, length)
  valid = np.broadcast_to(np.arange(length)[None, :] < events, shape)
  columns = np.zeros((*shape, layout.num_columns), np.int32)
  longer = (pipeline.batch_size, length + 1)
  items = rng.integers(1, num_items + 1, longer, np.int32)
  times = np.sort(rng.integers(0, _EPOCH_SECONDS, longer), axis=1)
  columns[..., 0] = items[:, :-1]
  columns[..., 1] = items[:, 1:]
  columns[..., 2] = times[:, :-1]
  columns[..., 3] = times[:, 1:]
  columns[~valid] = 0
  positions = np.where(valid, np.arange(length)[None, :], 0)
  return layout.batch(columns, valid.astype(np.int32), positions)


def _peak_memory() -> int:
  """Of the accelerator where it says so, else of this process."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return int(stats["peak_bytes_in_use"])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
