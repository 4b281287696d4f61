# SPDX-License-Identifier: Apache-2.0
"""What attention costs on a TPU by the compiler's own schedule, on a CPU.

    bundles per block = sum over kernels of  bundles of a grid step
                                             / blocks that a grid step computes
                      + sum over fusions of  bundles executed in a call
                                             / blocks that a call computes

A block is one head and 262,144 computed query-key pairs (512 x 512); causal
attention computes the blocks on and below the diagonal. A kernel's grid step
counts both sides of every branch, so what happens once a row of blocks counts
in every block, and a loop that the data ends counts once (with roles: look-ups
of far places, and the sums over places of keys). Programs: y, and
value_and_grad of sum(y) by every input that has a gradient.

Side by side: this library's pointwise attention with packed rows and both
biases, gradients of their tables included; the same with roles and limits, as
rankers have it, whose distances are those of positions; and, unless it is left
out, JAX's own splash attention (softmax, no bias, no packing).
"""

from collections.abc import Callable, Sequence
import dataclasses
from importlib import metadata
import math
from typing import Any

import jax
import jax.numpy as jnp

from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention
from genrec_jax.ops.silu_attention.block_sizes import DEFAULTS, plan
from genrec_jax.ops.time_buckets import NUM_BUCKETS
from genrec_jax.tpu.schedule import (
  Schedule,
  ScheduledOp,
  compile_schedule,
  prepare,
)
from genrec_jax.tpu.topology import check_name

BLOCK_PAIRS = 512 * 512
_NAMES = ("pointwise", "roles", "splash")


@dataclasses.dataclass(frozen=True)
class Case:
  """An attention to compile.

  Attributes:
    fn: (*args) -> y.
    args: shapes of its inputs.
    gradients: how many of the first args have a gradient.
    step_pairs: query-key pairs, times heads, that one grid step of the kernel
      of this name computes.
    call_pairs: those that one call computes, by the blocks of its forward
      pass.
    all_pairs: those of all grid steps, computed or skipped.
  """

  fn: Callable[..., Any]
  args: Sequence[Any]
  gradients: int
  step_pairs: Callable[[str], int]
  call_pairs: int
  all_pairs: int


def causal_pairs(length: int, block_q: int, block_kv: int) -> int:
  """Pairs of the blocks that hold a pair with key <= query."""
  blocks = sum(
    math.ceil(min(length, start + block_q) / block_kv)
    for start in range(0, length, block_q)
  )
  return blocks * block_q * block_kv


def splash(length: int, heads: int, width: int, block: int) -> Case:
  """JAX's softmax attention for TPUs, causal, in square blocks.

  Raises:
    ValueError: a length that the block does not divide.
  """
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
    splash_attention_mask as masks,
  )

  if length % block:
    raise ValueError(
      f"--length={length} is no multiple of {block}, the block of splash"
      f" attention: take {-(-length // block) * block}, or --splash_block."
    )
  names = (
    *("block_q", "block_kv", "block_kv_compute"),
    *("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"),
    *("block_q_dq", "block_kv_dq"),
  )
  mask = masks.MultiHeadMask([masks.CausalMask((length, length))] * heads)
  attend = kernel.make_splash_mha(
    mask,
    block_sizes=kernel.BlockSizes(**dict.fromkeys(names, block)),
    head_shards=1,
    q_seq_shards=1,
  )
  shape = jax.ShapeDtypeStruct((heads, length, width), jnp.bfloat16)
  return Case(
    fn=attend,  # q comes scaled
    args=(shape,) * 3,
    gradients=3,
    step_pairs=lambda name: block * block,
    call_pairs=heads * causal_pairs(length, block, block),
    all_pairs=heads * length**2,
  )


def pointwise(
  topology: str, length: int, heads: int, width: int, roles: bool = False
) -> Case:
  """This library's attention with packed rows and both biases, causal."""
  chip, _ = check_name(topology)
  blocks, padded, together = plan(
    DEFAULTS[chip.name],
    length,
    heads,
    (width, width),
    2,
    shrink=True,
    placed=roles,
  )
  vectors = jax.ShapeDtypeStruct((1, length, heads, width), jnp.bfloat16)
  integers = jax.ShapeDtypeStruct((1, length), jnp.int32)
  tables = (
    jax.ShapeDtypeStruct((2 * length - 1,), jnp.float32),
    jax.ShapeDtypeStruct((NUM_BUCKETS,), jnp.float32),
  )

  def attend(q, k, v, position, time, *info):
    return silu_attention(
      q,
      k,
      v,
      SequenceInfo(*info),
      normalizer=float(length),
      bias=BiasTables(position, time),
      implementation="pallas_tpu",
    )

  steps = {
    "forward": together * blocks.forward_q * blocks.forward_k,
    "backward": together * blocks.backward_q * blocks.backward_k,
  }
  return Case(
    fn=attend,
    args=(vectors,) * 3 + tables + (integers,) * (6 if roles else 4),
    gradients=5,
    step_pairs=lambda name: steps[
      "backward" if "backward" in name else "forward"
    ],
    call_pairs=heads * causal_pairs(padded, blocks.forward_q, blocks.forward_k),
    all_pairs=heads * padded**2,
  )


def measure(case: Case, topology: str) -> dict[str, Any]:
  """Schedules of the forward pass and of value_and_grad."""

  def loss(*args):
    return jnp.sum(case.fn(*args).astype(jnp.float32))

  arguments = tuple(range(case.gradients))
  programs = {
    "forward": case.fn,
    "forward_backward": jax.value_and_grad(loss, arguments),
  }
  results = {}
  for name, fn in programs.items():
    schedule, compiled = compile_schedule(fn, case.args, topology)
    memory = compiled.memory_analysis()
    results[name] = _figures(case, schedule) | {
      "temporary_bytes": memory.temp_size_in_bytes
    }
  return results


def _figures(case: Case, schedule: Schedule) -> dict[str, Any]:
  program = ScheduledOp("(top level program)", 1, schedule.top)
  ops = [_op_figures(case, op) for op in (*schedule.ops, program)]
  kernels = [op for op in ops if op["kernel"]]

  def total(some):
    return round(sum(op["bundles_per_block"] for op in some), 1)

  return {
    "bundles_per_block": total(ops),
    "bundles_per_block_in_kernels": total(kernels),
    "blocks_per_call": case.call_pairs / BLOCK_PAIRS,
    "undercounted": [op["name"] for op in ops if op["unknown_loops"]],
    "ops": ops,
  }


def _op_figures(case: Case, op: ScheduledOp) -> dict[str, Any]:
  bundles = op.bundles
  if op.is_kernel:
    count = bundles.one_step()
    pairs = case.step_pairs(op.name)
    steps = bundles.grid.trips if bundles.grid else 1
    if steps is None or steps * pairs != case.all_pairs:
      raise ValueError(
        f"{op.name} has {steps} grid steps of {pairs:,} pairs, which are not"
        f" the {case.all_pairs:,} there are: its grid is not understood here."
      )
  else:
    count = bundles.executed() * (1 if op.calls is None else op.calls)
    pairs = case.call_pairs
  stores, fills = bundles.spills()
  unknown = len(bundles.unknown_loops()) + (op.calls is None)
  return {
    "name": op.name,
    "kernel": op.is_kernel,
    "bundles_per_block": round(count * BLOCK_PAIRS / pairs, 1),
    "bundles": bundles.bundles,
    "bundles_per_step": bundles.one_step(),
    "grid_steps": bundles.grid.trips if bundles.grid else 1,
    "unknown_loops": unknown,
    "use": {k: round(v, 3) for k, v in bundles.unit_use().items()},
    "spill_stores": stores,
    "spill_fills": fills,
    "vmem_bytes": bundles.vmem_bytes,
  }


def attention_bench(
  topology: str,
  length: int,
  heads: int,
  width: int,
  splash_block: int = 512,
  roles: bool = True,
) -> dict[str, Any]:
  """All attentions, compiled for one core of a topology.

  Args:
    topology: as in tpu/topology.py.
    length: events of a row.
    heads: of a layer.
    width: of a head.
    splash_block: of splash attention; 0 leaves it out.
    roles: measure this library's attention with roles too.

  Raises:
    ValueError: no such topology, no libtpu, or a length that blocks of splash
      attention do not divide.
  """
  prepare()
  sizes = topology, length, heads, width
  cases = {"pointwise": pointwise(*sizes)}
  if roles:
    cases["roles"] = pointwise(*sizes, roles=True)
  if splash_block:
    cases["splash"] = splash(length, heads, width, splash_block)
  facts = {
    "topology": topology,
    "length": length,
    "heads": heads,
    "width": width,
    "splash_block": splash_block,
    "libtpu": metadata.version("libtpu"),
  }
  return facts | {name: measure(c, topology) for name, c in cases.items()}


# Bundles per block from which an op has a line of its own.
_SHOWN = 10.0
_SHOWN_UNITS = ("MATMUL", "XLU", "VALU", "EUP", "VLOAD", "VSTORE", "SALU")


def table(result: dict[str, Any]) -> str:
  """The result of attention_bench for people to read."""
  lines = [
    f"{result['topology']}, length {result['length']}, {result['heads']} heads"
    f" of {result['width']}, causal, libtpu {result['libtpu']}",
    "Bundles per head and 512 x 512 computed pairs; use of units and spills"
    " are those of one grid step.",
  ]
  units = " ".join(f"{unit:>6}" for unit in _SHOWN_UNITS)
  for name in [name for name in _NAMES if name in result]:
    for part, figures in result[name].items():
      lines += [
        "",
        f"{name} {part}: {figures['bundles_per_block']:,}, of these kernels"
        f" {figures['bundles_per_block_in_kernels']:,};"
        f" temporaries {figures['temporary_bytes'] / 2**20:.1f} MiB",
        f"  {'':36} {'bundles':>8} {units} {'spill/fill':>11} {'VMEM KiB':>8}",
      ]
      shown = [op for op in figures["ops"] if op["bundles_per_block"] >= _SHOWN]
      small = [op for op in figures["ops"] if op not in shown]
      lines += [_row(op) for op in shown]
      if small:
        total = sum(op["bundles_per_block"] for op in small)
        lines.append(f"  {f'{len(small)} smaller ones':36} {total:8,.1f}")
      if figures["undercounted"]:
        lines.append(
          "  + a loop counted once, whose trips only the running program knows"
        )
  return "\n".join(lines)


def _row(op: dict[str, Any]) -> str:
  use = " ".join(f"{op['use'][unit]:6.2f}" for unit in _SHOWN_UNITS)
  spills = f"{op['spill_stores']}/{op['spill_fills']}"
  mark = "+" if op["unknown_loops"] else " "
  return (
    f"  {op['name'][:36]:36} {op['bundles_per_block']:8,.1f}{mark}{use}"
    f" {spills:>11} {op['vmem_bytes'] / 2**10:8,.0f}"
  )
