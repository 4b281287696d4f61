# SPDX-License-Identifier: Apache-2.0
"""What a compiled program costs one device, with loop bodies multiplied.

    FLOPs        2 per multiply-add of matrix products (dot, convolution) and
                 the estimates that kernels carry; nothing else counts
    bytes        what instructions read and write in the main memory, a fusion
                 being one instruction; slices count by what they touch
    collectives  by kind: how many, their payload, and what a device must send
                 of it (ring bound: (n - 1) / n of it, twice for all-reduce)

A loop counts trip count times (hlo/trip_counts.py), a conditional as its
dearest branch. Loops whose count is unknown count once, or as often as the
caller says, and are named, and so are kernels that give no estimate: a figure
with names beside it is too low. The GPU compiler makes calls of cuBLAS of many
products; they count like the products.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
from typing import Any

from genrec_jax.hlo.bytes import MemoryReader
from genrec_jax.hlo.collectives import (
  KINDS,
  Traffic,
  collective_traffic,
  is_continuation,
)
from genrec_jax.hlo.flops import (
  LIBRARIES,
  convolution_flops,
  dot_flops,
  library_flops,
  passes,
)
from genrec_jax.hlo.text import Computation, HloProgram, Instruction, Number
from genrec_jax.hlo.trip_counts import Values, loop_states

_KERNEL = "tpu_custom_call"


@dataclasses.dataclass(frozen=True)
class Cost:
  """Of one device.

  Attributes:
    flops: of matrix products and kernels.
    pass_flops: the same, a float32 product of high precision counted as the
      3 or 6 bfloat16 products that the matrix unit makes of it.
    kernel_flops: the part that kernels estimate for themselves.
    nbytes: read from and written to the main memory.
    collectives: Traffic by kind.
    unknown_loops: loops whose count is unknown, see program_cost.
    unpriced_kernels: kernels and calls of libraries without an estimate,
      counted as nothing.
  """

  flops: Number = 0
  pass_flops: Number = 0
  kernel_flops: Number = 0
  nbytes: Number = 0
  collectives: Mapping[str, Traffic] = dataclasses.field(default_factory=dict)
  unknown_loops: tuple[str, ...] = ()
  unpriced_kernels: tuple[str, ...] = ()

  def plus(self, other: "Cost", times: Number = 1) -> "Cost":
    """Returns self + times * other; names are kept once."""
    collectives = dict(self.collectives)
    for kind, traffic in other.collectives.items():
      collectives[kind] = collectives.get(kind, Traffic()).plus(traffic, times)

    def names(mine, theirs):
      return tuple(dict.fromkeys((*mine, *theirs)))

    return Cost(
      self.flops + times * other.flops,
      self.pass_flops + times * other.pass_flops,
      self.kernel_flops + times * other.kernel_flops,
      self.nbytes + times * other.nbytes,
      collectives,
      names(self.unknown_loops, other.unknown_loops),
      names(self.unpriced_kernels, other.unpriced_kernels),
    )

  @property
  def sent_nbytes(self) -> Number:
    """What the device sends in all collectives."""
    return sum(t.sent_nbytes for t in self.collectives.values())


class _Reader:
  """Walks a program; costs of computations are kept."""

  def __init__(self, program: HloProgram, unknown_trips: Number):
    self._program = program
    self._unknown_trips = unknown_trips
    self._memory = MemoryReader(program)
    self._costs: dict[tuple[str, bool], Cost] = {}

  def computation(
    self, name: str, fused: bool, given: Sequence[Any] | None = None
  ) -> Cost:
    """Cost of one run; within a fusion nothing touches the main memory.

    Args:
      name: of the computation.
      fused: whether it is a fusion's.
      given: what is known of its parameters (hlo/trip_counts.py).
    """
    if given is None and (name, fused) in self._costs:
      return self._costs[name, fused]
    total = Cost()
    computation = self._program.computations[name]
    values = Values(self._program, computation, given)
    for instruction in computation:
      total = total.plus(
        self._instruction(values, computation, instruction, fused)
      )
    if given is None:
      self._costs[name, fused] = total
    return total

  def _instruction(
    self,
    values: Values,
    computation: Computation,
    one: Instruction,
    fused: bool,
  ) -> Cost:
    opcode = one.opcode
    if opcode == "while":
      return self._loop(values, one, fused)
    if opcode in ("call", "async-start"):
      return self.computation(one.called("to_apply", "calls")[0], fused)
    if opcode == "conditional":
      names = one.called(
        "branch_computations", "true_computation", "false_computation"
      )
      costs = [self.computation(name, fused) for name in names]
      return max(costs, key=lambda c: (c.flops, c.nbytes))
    operands = computation.operands(one)
    nbytes = 0.0 if fused else self._memory.nbytes(operands, one)
    if opcode == "fusion":
      cost = self.computation(one.called("calls")[0], fused=True)
      return _as_reduce_scatter(one, cost).plus(Cost(nbytes=nbytes))
    if opcode in ("dot", "convolution"):
      count = dot_flops if opcode == "dot" else convolution_flops
      flops = count(operands, one)
      return Cost(flops, passes(operands, one) * flops, nbytes=nbytes)
    if opcode == "custom-call":
      # Work for the SparseCore is such a call: it stands in the program.
      called = one.called("called_computations")
      if called:
        return self.computation(called[0], fused)
      return _kernel(operands, one, nbytes)
    kind = opcode.removesuffix("-start")
    if kind in KINDS and not is_continuation(one):
      traffic = collective_traffic(
        kind, operands, one, self._program.num_partitions
      )
      return Cost(nbytes=nbytes, collectives={kind: traffic})
    return Cost(nbytes=nbytes)

  def _loop(self, values: Values, loop: Instruction, fused: bool) -> Cost:
    (body,) = loop.called("body")
    cost = self.computation(body, fused)
    states = loop_states(self._program, values, loop)
    if states is None:
      name = loop.attribute(r'op_name="([^"]*)"') or loop.name
      return Cost(unknown_loops=(name,)).plus(cost, self._unknown_trips)
    if not cost.unknown_loops:
      return Cost().plus(cost, len(states))
    # A loop within may be as long as this one's state says.
    total = Cost()
    for state in states:
      total = total.plus(self.computation(body, fused, [state]))
    return total


def _as_reduce_scatter(fusion: Instruction, cost: Cost) -> Cost:
  """The TPU compiler writes reduce-scatter as all-reduce and a slice, fused."""
  if not fusion.called("calls")[0].startswith("all-reduce-scatter"):
    return cost
  collectives = dict(cost.collectives)
  traffic = collectives.pop("all-reduce")
  collectives["reduce-scatter"] = dataclasses.replace(
    traffic, sent_nbytes=traffic.sent_nbytes / 2
  )
  return dataclasses.replace(cost, collectives=collectives)


def _kernel(
  operands: list[Instruction], call: Instruction, nbytes: Number
) -> Cost:
  """A kernel costs what its cost_estimate says, a product of cuBLAS what it
  multiplies."""
  target = call.attribute(r'custom_call_target="([^"]+)"')
  if target == "AllocateBuffer":
    return Cost()
  if target is not None and target.startswith(LIBRARIES):
    product = library_flops(operands, call)
    if product is None:
      return Cost(nbytes=nbytes, unpriced_kernels=(call.name,))
    return Cost(product, product, nbytes=nbytes)
  if target != _KERNEL:
    return Cost(nbytes=nbytes)
  stated = call.attribute(r'"cost_estimate":(\{[^{}]*\})')
  if stated is None:
    return Cost(nbytes=nbytes, unpriced_kernels=(call.name,))
  flops = float(json.loads(stated).get("flops", 0))
  return Cost(flops, flops, kernel_flops=flops, nbytes=nbytes)


def program_cost(program: HloProgram, unknown_trips: Number = 1) -> Cost:
  """Cost of one run of a program on one of its devices.

  Args:
    program: as compiled.
    unknown_trips: how often the body of a loop runs whose count only the
      running program knows, the mean over all such loops.
  """
  reader = _Reader(program, unknown_trips)
  return reader.computation(program.entry, fused=False)
