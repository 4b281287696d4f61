# SPDX-License-Identifier: Apache-2.0
"""Seconds of the very step that scripts/train.py runs, on full rows.

Rows are random events (bench/batches.py), so no data is needed. The first steps
are left out; the median of the others counts. MFU is the compiled program's
FLOPs over the device's peak (hlo/mfu.py). A loop whose length only the running
program knows is taken to be the key blocks of plain causal attention
(ops/silu_attention/chunked.py) on rows of one user: half of them and half a
block, on average.
"""

from collections.abc import Mapping
import resource
import statistics
from typing import Any

import jax
import numpy as np

from genrec_jax.bench.batches import full_batch
from genrec_jax.bench.timing import compile_timed, seconds_of_calls
from genrec_jax.core import sharding
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.program import Program
from genrec_jax.hlo.mfu import cost_or_why, mfu
from genrec_jax.ops.silu_attention.chunked import BLOCK
from genrec_jax.train.state import num_parameters


def time_train_step(
  config: Mapping[str, Any],
  *,
  num_items: int,
  events: int,
  steps: int,
  deadline: int | float | None = None,
) -> dict[str, Any]:
  """Median seconds of a train step, after compilation.

  Args:
    config: plain and checked; its pipeline says the shapes.
    num_items: V.
    events: of every user; of the next-item layout, at most the row's length.
    steps: timed.
    deadline: of time.time(); once it is past, no further step is timed.
  """
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  program = Program.from_config(config, num_items, mesh.place())
  pipeline = program.pipeline
  host = full_batch(pipeline, events, num_items)
  tokens = int(np.count_nonzero(host["segment_ids_BL"]))
  batch = sharding.put(host, program.placement.by_rows)
  with program.in_force():
    state = program.init_state()
    parameters = num_parameters(state.params)
    compiled, compile_seconds = compile_timed(program.train_step, state, batch)
    metrics = {}

    def step():
      nonlocal state, metrics
      state, metrics = compiled(state, batch)
      return state, metrics

    seconds = seconds_of_calls(step, steps, deadline)
  median = statistics.median(seconds)
  return {
    "seconds_per_step": round(median, 5),
    "seconds_min": round(min(seconds), 5),
    "steps": len(seconds),
    "tokens_per_second": round(tokens / median),
    "compile_seconds": round(compile_seconds, 2),
    "peak_memory_bytes": _peak_memory(),
    "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    "loss": round(float(metrics["loss"]), 4),
    "parameters": parameters,
    "rows": pipeline.batch_size,
    "row_length": pipeline.row_length,
    "events_per_row": events,
    "fill": round(tokens / host["segment_ids_BL"].size, 4),
    "num_items": num_items,
  } | _utilisation(config, compiled, median, pipeline.row_length)


def _utilisation(
  config: Mapping[str, Any],
  compiled: Any,
  seconds: int | float,
  row_length: int,
) -> dict[str, Any]:
  """FLOPs per device and MFU, and what makes them uncertain."""
  blocks = -(-row_length // BLOCK)
  dtype = config["system"].get("dtype", "float32")
  cost, why = cost_or_why(compiled, unknown_trips=(blocks + 1) / 2)
  if cost is None:
    return {
      "flops_per_device": None,
      "dtype": dtype,
      "mfu": None,
      "mfu_note": why,
    }
  kind = jax.devices()[0].device_kind
  used = mfu(cost.flops, seconds, kind, dtype)
  notes = []
  if used is None:
    notes.append(f"no peak is listed for {kind} in hlo/mfu.py")
  if cost.unknown_loops:
    notes.append(
      f"{len(cost.unknown_loops)} loops taken as {(blocks + 1) / 2} key blocks"
    )
  if cost.unpriced_kernels:
    notes.append(f"{len(cost.unpriced_kernels)} kernels without FLOPs")
  return {
    "flops_per_device": float(cost.flops),
    "dtype": dtype,
    "mfu": None if used is None else round(used, 4),
    "mfu_note": "; ".join(notes),
  }


def _peak_memory() -> int:
  """Of the accelerator where it says so, else of this process."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and "peak_bytes_in_use" in stats:
    return int(stats["peak_bytes_in_use"])
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
