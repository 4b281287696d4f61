# SPDX-License-Identifier: Apache-2.0
"""Compiles the functions of a config for a TPU slice and says what they cost.

    slice_ = open_slice("v5p:8x8x8")
    program = Program.from_config(config, num_items, options.place(devices))
    reports = [compile_step(step, slice_) for step in steps_of(program)]

The functions are those that training and evaluation run
(experiment/program.py), traced on shapes alone: no data is read and no
parameter is made, so a trillion of them compile on a laptop.
"""

from collections.abc import Callable, Sequence
import dataclasses
import pathlib
import tempfile
import time
from typing import Any

import jax
import numpy as np

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.item_mask import num_words
from genrec_jax.experiment.program import Program
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import Cost, program_cost
from genrec_jax.tpu.roofline import Roofline
from genrec_jax.tpu.topology import Slice, memory_shortage
from genrec_jax.train.state import TrainState

# train, then what evaluation and serving run: vectors of requests, vectors of
# items, and the nearest of these to those; or the items that are generated; or
# the logits of shown items.
STEPS = ("train", "query", "items", "retrieve", "decode", "score")


@dataclasses.dataclass(frozen=True)
class Step:
  """A jitted function and the shapes it is compiled for.

  Attributes:
    name: one of STEPS.
    function: jitted.
    arguments: trees of ShapeDtypeStruct with shardings.
  """

  name: str
  function: Callable[..., Any]
  arguments: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Memory:
  """Bytes per chip.

  Attributes:
    arguments: what is there before: state and batch.
    output: results that do not reuse an argument's place.
    temporary: in between.
    peak: most at one time; what was asked for where it did not fit.
  """

  arguments: int | None
  output: int | None
  temporary: int | None
  peak: int


@dataclasses.dataclass(frozen=True)
class StepReport:
  """What one step takes on one chip.

  Attributes:
    name: of the step.
    fits: whether it compiled within the chip's memory.
    memory: bytes per chip.
    cost: per chip; None where it does not fit.
    roofline: bounds per chip; None likewise.
    compile_seconds: wall time here.
    text: the compiled program; "" where it does not fit.
  """

  name: str
  fits: bool
  memory: Memory
  cost: Cost | None
  roofline: Roofline | None
  compile_seconds: float
  text: str = dataclasses.field(repr=False)

  def to_json(self) -> dict[str, Any]:
    """Plain numbers, without the program's text."""
    facts: dict[str, Any] = {
      "fits": self.fits,
      "bytes_per_chip": dataclasses.asdict(self.memory),
      "compile_seconds": round(self.compile_seconds, 1),
    }
    if self.cost is None or self.roofline is None:
      return facts
    cost, roofline = self.cost, self.roofline
    return facts | {
      "flops_per_chip": cost.flops,
      "kernel_flops_per_chip": cost.kernel_flops,
      "memory_traffic_bytes_per_chip": cost.nbytes,
      "collectives_per_chip": {
        kind: {
          "count": traffic.count,
          "bytes": traffic.nbytes,
          "sent_bytes": traffic.sent_nbytes,
        }
        for kind, traffic in sorted(cost.collectives.items())
      },
      "unknown_loops": list(cost.unknown_loops),
      "unpriced_kernels": list(cost.unpriced_kernels),
      "compute_seconds": roofline.compute_seconds,
      "memory_seconds": roofline.memory_seconds,
      "network_seconds": roofline.network_seconds,
      "step_seconds": roofline.step_seconds,
      "bound_by": roofline.bound_by,
      "bound_mfu": roofline.mfu,
    }


def steps_of(
  program: Program, names: Sequence[str] | None = None
) -> list[Step]:
  """The steps of a program, with the shapes and shardings it runs on.

  Args:
    program: what a config computes.
    names: of the steps; None = all that its system has.

  Raises:
    ValueError: a step that its system does not have.
  """
  names = program.steps if names is None else names
  for name in names:
    if name not in program.steps:
      hint = choices_hint(name, program.steps)
      raise ValueError(f"this config has no step {name!r}.{hint}")
  state = program.abstract_state()
  steps = []
  for name in names:
    if name == "train":
      arguments = program.abstract_train_arguments()
      step = Step(name, program.train_step, arguments)
    elif name == "query":
      requests = program.abstract_requests()
      step = Step(name, program.query, (state.params, requests))
    elif name == "decode":
      step = Step(name, program.decode, _decode_arguments(program, state))
    elif name == "score":
      impressions = program.abstract_impressions()
      step = Step(name, program.score, (state.params, impressions))
    elif name == "items":
      step = Step(name, program.items, (state.params,))
    else:
      step = Step(name, program.retrieve, _retrieve_arguments(program, state))
    steps.append(step)
  return steps


def _decode_arguments(program: Program, state: TrainState) -> tuple:
  """Requests that may get all items but their own, as in an evaluation."""
  rows, items = program.requests.batch_size, program.system.num_items
  words = jax.ShapeDtypeStruct(
    (rows, num_words(items)), np.uint32, sharding=program.request_sharding
  )
  return (
    state.params,
    program.abstract_requests(),
    program.abstract_search_items(),
    words,
  )


def _retrieve_arguments(program: Program, state: TrainState) -> tuple:
  """Queries and items as `query` and `items` return them."""
  with program.in_force():
    query = jax.eval_shape(
      program.query, state.params, program.abstract_requests()
    )
  query = jax.ShapeDtypeStruct(
    query.shape, query.dtype, sharding=program.placement.replicated
  )
  return query, program.abstract_vectors()


def _memory(compiled: jax.stages.Compiled) -> Memory:
  stats = compiled.memory_analysis()
  return Memory(
    arguments=stats.argument_size_in_bytes,
    output=stats.output_size_in_bytes - stats.alias_size_in_bytes,
    temporary=stats.temp_size_in_bytes,
    peak=stats.peak_memory_in_bytes + stats.generated_code_size_in_bytes,
  )


def _compile(lowered: jax.stages.Lowered) -> tuple[jax.stages.Compiled, str]:
  """Compiles, and returns the program's text as the TPU compiler wrote it.

  JAX's own reader, `as_text`, knows an older form of asynchronous calls and
  fails on programs with work for the SparseCore (v5p, v6e).
  """
  with tempfile.TemporaryDirectory() as folder:
    compiled = lowered.compile(
      compiler_options={"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
    )
    texts = list(pathlib.Path(folder).glob("*.after_optimizations.txt"))
    if len(texts) != 1:
      raise RuntimeError(
        f"the TPU compiler wrote {len(texts)} programs for one function, not"
        " 1; compile_tpu is made for libtpu 0.0.52, see the extra `aot`"
      )
    return compiled, texts[0].read_text()


def compile_step(step: Step, slice_: Slice) -> StepReport:
  """Compiles one step for the chips of a slice and reads what came out."""
  started = time.perf_counter()
  lowered = step.function.trace(*step.arguments).lower(
    lowering_platforms=("tpu",)
  )
  try:
    compiled, text = _compile(lowered)
  except jax.errors.JaxRuntimeError as error:
    shortage = memory_shortage(str(error))
    if shortage is None:
      raise
    needed, _ = shortage
    return StepReport(
      name=step.name,
      fits=False,
      memory=Memory(None, None, None, peak=needed),
      cost=None,
      roofline=None,
      compile_seconds=time.perf_counter() - started,
      text="",
    )
  seconds = time.perf_counter() - started
  cost = program_cost(hlo.parse(text))
  memory = _memory(compiled)
  return StepReport(
    name=step.name,
    fits=memory.peak <= slice_.chip.memory_bytes,
    memory=memory,
    cost=cost,
    roofline=Roofline.of(cost, slice_.chip),
    compile_seconds=seconds,
    text=text,
  )
