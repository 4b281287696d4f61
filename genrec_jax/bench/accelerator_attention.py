# SPDX-License-Identifier: Apache-2.0
"""Pointwise attention on the device that is there: seconds and agreement.

One full row of one user, causal, both learned biases, bfloat16, the heads of
configs/hstu_long.py. By length, implementation and pass:

    chunked     plain JAX in blocks
    pallas_tpu  the fused kernels, on a TPU
    dense       `reference`: every pair in memory

Each is compared with `reference` in float32 at the highest precision, of
QUERIES queries spread over the row: their outputs, and the gradients of a loss
on these outputs alone, which needs no array of all pairs. An error is
|a - b| / |b| over all elements; TOLERANCE is what bfloat16 is allowed. FLOPs
are those of the causal pairs alone (ops/attention_flops.py), whatever an
implementation computes beside them.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.bench.accelerator_job import Job
from genrec_jax.bench.accelerator_record import Record
from genrec_jax.bench.pipeline import EPOCH_SECONDS
from genrec_jax.bench.timing import compile_timed, seconds_of_calls, summary
from genrec_jax.core.types import SequenceInfo
from genrec_jax.hlo.mfu import mfu
from genrec_jax.ops.attention_flops import (
  attention_backward_flops,
  attention_flops,
  causal_pairs,
)
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.time_buckets import NUM_BUCKETS

TOLERANCE = 0.02
QUERIES = 256
_INPUTS = ("q", "k", "v", "position_table", "time_table")
_DTYPE = "bfloat16"


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Of the rows that are measured, and timed calls of each."""

  lengths: tuple[int, ...]
  heads: int
  width: int
  repeats: int


_REAL = Sizes((1024, 4096, 8192, 16_384), heads=4, width=128, repeats=10)
# The longer one is more than one block of the chunked attention.
_QUICK = Sizes((64, 640), heads=2, width=16, repeats=1)


def measure_attention(job: Job, record: Record) -> None:
  """Writes a case per length, implementation and pass."""
  sizes = _QUICK if job.quicktest else _REAL
  names = {"chunked": "chunked", "dense": "reference"}
  if jax.default_backend() == "tpu":
    names = {"chunked": "chunked", "pallas_tpu": "pallas_tpu"} | names
  for length in sizes.lengths:
    row = AttentionRow.of(length, sizes)
    for shown, name in names.items():
      for backward in (False, True):
        what = "forward and backward" if backward else "forward"
        record.measure(
          f"{shown} {what} {length}",
          lambda row=row, name=name, backward=backward: _figures(
            row, name, backward, sizes.repeats, record.deadline
          ),
        )


@dataclasses.dataclass(frozen=True)
class AttentionRow:
  """Inputs of one row, and what the sampled queries must give.

  Attributes:
    inputs: q, k, v (1, L, H, K) and both tables.
    info: one user's full row.
    weights: (1, L, H, K), the loss is sum(weights * y); random at the sampled
      queries, 0 elsewhere.
    sampled: their places.
  """

  inputs: tuple[jax.Array, ...]
  info: SequenceInfo
  weights: jax.Array
  sampled: np.ndarray

  @classmethod
  def of(cls, length: int, sizes: Sizes) -> "AttentionRow":
    """Random inputs; scores are about as large as 1."""
    rng = np.random.default_rng(0)
    shape = (1, length, sizes.heads, sizes.width)

    def draw(*dims, size=1.0, dtype=_DTYPE):
      return jnp.asarray(size * rng.standard_normal(dims), dtype)

    root = sizes.width**-0.25
    vectors = [draw(*shape, size=size) for size in (root, root, 1.0)]
    tables = [
      draw(n, size=0.1, dtype="float32") for n in (2 * length - 1, NUM_BUCKETS)
    ]
    times = np.sort(rng.integers(0, EPOCH_SECONDS, (1, length + 1)), axis=1)
    times = jnp.asarray(times, jnp.int32)
    info = SequenceInfo(
      jnp.ones((1, length), jnp.int32),
      jnp.arange(length, dtype=jnp.int32)[None],
      times[:, :-1],
      times[:, 1:],
    )
    count = min(QUERIES, length)
    sampled = np.linspace(0, length - 1, count).round().astype(np.int32)
    weights = np.zeros(shape, np.float32)
    weights[:, sampled] = rng.standard_normal((1, count, *shape[2:]))
    return cls((*vectors, *tables), info, jnp.asarray(weights, _DTYPE), sampled)

  @functools.cached_property
  def expected(self) -> dict[str, np.ndarray]:
    """Outputs of the sampled queries and gradients, float32, highest."""
    index = jnp.asarray(self.sampled)[None]
    weights = self.weights[:, self.sampled].astype(jnp.float32)
    inputs = tuple(x.astype(jnp.float32) for x in self.inputs)

    def loss(q, k, v, *tables):
      y = attend(
        (q[:, self.sampled], k, v, *tables), self.info, "reference", index
      )
      return jnp.sum(y * weights), y

    with jax.default_matmul_precision("highest"):
      gradients, y = jax.jit(
        jax.grad(loss, argnums=tuple(range(len(inputs))), has_aux=True)
      )(*inputs)
    return _named(y, gradients)


def attend(inputs, info, implementation, query_index_BQ=None) -> jax.Array:
  """Attention of q, k, v and two tables."""
  q, k, v, position, time = inputs
  return silu_attention(
    *(q, k, v, info),
    normalizer=float(k.shape[1]),
    bias=BiasTables(position, time),
    query_index_BQ=query_index_BQ,
    implementation=implementation,
  )


def _named(y: Any, gradients: Any) -> dict[str, np.ndarray]:
  names = ("y", *(f"gradient_of_{name}" for name in _INPUTS))
  arrays = (y, *gradients)
  return {
    name: np.asarray(x, np.float32)
    for name, x in zip(names[: len(arrays)], arrays, strict=True)
  }


def errors(
  found: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> dict[str, float]:
  """|a - b| / |b| of each array that was found; of bad numbers, infinity."""
  sizes = {
    name: float(
      np.linalg.norm((x - expected[name]).ravel())
      / np.linalg.norm(expected[name].ravel())
    )
    for name, x in found.items()
  }
  return {n: e if np.isfinite(e) else float("inf") for n, e in sizes.items()}


def agreement(found: dict[str, float]) -> dict[str, Any]:
  """The errors as they are written, and whether all are within TOLERANCE."""
  worst = max(found, key=found.__getitem__)
  return {
    "agrees": found[worst] <= TOLERANCE,
    "largest_error": round(min(found[worst], 1e9), 6),
    "largest_error_of": worst,
    "tolerance": TOLERANCE,
    "compared_with": "float32 reference, highest precision, sampled queries",
  }


def _program(
  implementation: str, backward: bool
) -> Callable[..., tuple[jax.Array, tuple[jax.Array, ...]]]:
  """(inputs, info, weights) -> y, gradients of sum(weights * y) if backward.

  info comes as a dict of its arrays: what is lowered is described by objects
  that a SequenceInfo does not take.
  """

  def run(inputs, info, weights):
    def forward(inputs):
      return attend(inputs, SequenceInfo(**info), implementation)

    if not backward:
      return forward(inputs), ()
    y, pull = jax.vjp(forward, inputs)
    return y, pull(weights)[0]

  return run


def _figures(
  row: AttentionRow,
  name: str,
  backward: bool,
  repeats: int,
  deadline: int | float,
) -> dict[str, Any]:
  """Seconds, share of the peak, and errors of one program."""
  args = row.inputs, vars(row.info), row.weights
  compiled, compile_seconds = compile_timed(
    jax.jit(_program(name, backward)), *args
  )
  seconds = seconds_of_calls(lambda: compiled(*args), repeats, deadline)
  timing = summary(seconds)
  y, gradients = compiled(*args)
  found = errors(_named(y[:, row.sampled], gradients), row.expected)
  _, length, heads, width = row.inputs[0].shape
  sizes = causal_pairs(length), heads, width, width
  flops = attention_flops(*sizes)
  if backward:
    flops += attention_backward_flops(*sizes)
  kind = jax.devices()[0].device_kind
  used = mfu(flops, timing["seconds"], kind, _DTYPE)
  return (
    timing
    | {
      "compile_seconds": round(compile_seconds, 2),
      "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
      "flops": flops,
      "tflops_per_second": round(flops / timing["seconds"] / 1e12, 4),
      "mfu": None if used is None else round(used, 4),
      "length": length,
      "heads": heads,
      "width": width,
      "dtype": _DTYPE,
    }
    | agreement(found)
  )
