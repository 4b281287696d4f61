# SPDX-License-Identifier: Apache-2.0
"""The TPU compiler's static schedule of any jitted function, on any machine.

libtpu compiles for a TPU that is not there, and dumps what it scheduled:

    schedule = compile_schedule(fn, args, topology="v5e:2x2")
    for op in schedule.ops: print(op.name, op.calls, op.bundles.one_step())

Ops are the kernels and fusions that the top-level program calls, in its
order, each with how often it is called; equal ops share one program. Trips of
the program's own loops (lax.scan) are read from its HLO (hlo/trip_counts.py);
where the data decides them, calls is None.

libtpu reads where to dump once, when it is loaded, and JAX may load it when it
looks for its first device: a process calls `prepare` before that.
"""

import atexit
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import json
import os
from pathlib import Path
import re
import shutil
import tempfile
from typing import Any

import jax
import numpy as np

from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.trip_counts import Values, loop_states
from genrec_jax.tpu import topology as tpu_topology
from genrec_jax.tpu.bundles import Bundles, parse_bundles

_TOP = "TLP"
# Attributes of HLO instructions that name what they run.
_CALLED = (
  "to_apply",
  "branch_computations",
  "true_computation",
  "false_computation",
)
_PROGRAM = re.compile(r"\d+-(.+)-\d+-final_bundles\.txt")
_USE = "final_hlo-static-per-bundle-utilization.txt"


@dataclasses.dataclass(frozen=True)
class ScheduledOp:
  """A kernel or fusion: calls per run of the program (None: unknown)."""

  name: str
  calls: int | None
  bundles: Bundles

  @property
  def is_kernel(self) -> bool:
    """A Pallas kernel, not what XLA made."""
    return self.bundles.opcode == "custom-call"


@dataclasses.dataclass(frozen=True)
class Schedule:
  """What one compiled function runs; top is the program that calls ops."""

  ops: tuple[ScheduledOp, ...]
  top: Bundles

  def matching(self, pattern: str) -> tuple[ScheduledOp, ...]:
    """Ops whose name the regular expression finds."""
    return tuple(op for op in self.ops if re.search(pattern, op.name))


def compile_schedule(
  fn: Callable[..., Any], args: Sequence[Any], topology: str
) -> tuple[Schedule, Any]:
  """Compiles jit(fn)(*args) for one core of a topology ("v5e:2x2").

  args: arrays or jax.ShapeDtypeStructs, or pytrees of them.

  Returns:
    The schedule and the compiled function (memory_analysis(), as_text()).

  Raises:
    ValueError: no such topology, no libtpu, or it was loaded before, without
      a place to dump to.
  """
  prepare()
  directory = Path(_directory)
  device = tpu_topology.open_slice(topology).devices[0]
  mesh = jax.make_mesh(
    (1,), ("core",), (jax.sharding.AxisType.Auto,), devices=[device]
  )
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    tuple(args),
  )
  for old in directory.iterdir():
    old.unlink()
  # A new function object: what jax has compiled before would dump nothing.
  with jax.set_mesh(mesh):
    traced = jax.jit(lambda *a: fn(*a)).trace(*shapes)
    compiled = traced.lower(lowering_platforms=("tpu",)).compile()
  times = instruction_times(hlo.parse(compiled.as_text()))
  return read_dump(directory, times), compiled


def instruction_times(program: hlo.HloProgram) -> dict[str, int | None]:
  """How often each instruction of an HLO program runs; None: data decides.

  Every branch of a conditional counts as taken.
  """
  times: dict[str, int | None] = {}

  def visit(name: str, runs: int | None, given: list[Any] | None) -> None:
    computation = program.computations[name]
    values = Values(program, computation, given)
    for one in computation:
      before = times.get(one.name, 0)
      lost = runs is None or before is None
      times[one.name] = None if lost else before + runs
      if one.opcode == "while":
        (body,) = one.called("body")
        states = loop_states(program, values, one)
        # A loop within may be as long as this one's state says.
        for state in [None] if states is None else states:
          visit(body, None if states is None else runs, [state])
      elif one.opcode in ("conditional", "call"):
        for called in one.called(*_CALLED):
          visit(called, runs, None)

  visit(program.entry, 1, None)
  return times


def read_dump(
  directory: str | os.PathLike[str],
  times: Mapping[str, int | None] | None = None,
) -> Schedule:
  """Reads the dump of one compilation.

  Args:
    directory: where libtpu dumped to.
    times: how often HLO instructions run, for those within loops whose trips
      the dump does not tell.
  """
  directory = Path(directory)
  programs, vmem = {}, _vmem_bytes(directory)
  for path in sorted(directory.glob("*-final_bundles.txt")):
    match = _PROGRAM.fullmatch(path.name)
    if not match or "schedule-analysis" in path.name:
      continue
    name = match.group(1)
    stamp = path.name.split("-", 1)[0]
    (use,) = (
      p
      for p in directory.glob(f"{stamp}-*{_USE}")
      if re.fullmatch(rf"{stamp}-{re.escape(name)}-\d+-{_USE}", p.name)
    )
    programs[name] = parse_bundles(
      name,
      path.read_text(),
      use.read_text(),
      vmem_bytes=vmem.get(name, 0),
    )
  if _TOP not in programs:
    raise ValueError(
      f"No dump of a compiled program in {directory}. libtpu reads"
      " LIBTPU_INIT_ARGS when it is loaded: call schedule.prepare() before"
      " JAX touches its first device, in a process of its own."
    )
  return _link(programs, _equal_ops(directory), times or {})


def _link(
  programs: dict[str, Bundles],
  equal: dict[str, str],
  times: Mapping[str, int | None],
) -> Schedule:
  """Ops in the order of their calls, with how often each is called."""
  top = programs[_TOP]
  weights = top.weights(grid_steps=None)
  unknown = np.zeros(top.bundles, bool)
  for loop in top.unknown_loops():
    unknown[loop.start : loop.end] = True
  calls: dict[str, int | None] = {}
  for at, instruction in top.calls:
    name = equal.get(instruction, instruction)
    before = calls.get(name, 0)
    more = times.get(instruction) if unknown[at] else int(weights[at])
    lost = more is None or before is None
    calls[name] = None if lost else before + more
  missing = sorted(set(calls) - set(programs))
  if missing:
    raise ValueError(f"The program calls {missing}, which were not dumped.")
  ops = tuple(ScheduledOp(n, times, programs[n]) for n, times in calls.items())
  return Schedule(ops, top)


def _equal_ops(directory: Path) -> dict[str, str]:
  """Op -> the op whose program it shares."""
  (path,) = directory.glob(f"*-{_TOP}-*deduplication-map.txt")
  equal, key = {}, None
  for line in path.read_text().splitlines():
    if line.startswith("key:"):
      key = line.removeprefix("key:")
    elif line.startswith("  ") and key is not None:
      equal[line.strip()] = key
  return equal


def _vmem_bytes(directory: Path) -> dict[str, int]:
  """Scoped VMEM of each op, from the data inside the compiler's report."""
  sizes = {}
  for path in directory.glob("*vmem_report.html"):
    _, _, data = path.read_text().partition("const DATA =")
    report, _ = json.JSONDecoder().raw_decode(data.lstrip())
    for name, entry in report["hlo_breakdowns"].items():
      sizes[name] = int(entry["total_size"])
  return sizes


_directory: str | None = None


def prepare() -> None:
  """Tells libtpu where to dump; before JAX touches its first device.

  Raises:
    ValueError: libtpu is not installed.
  """
  global _directory
  if _directory is not None:
    return
  directory = tempfile.mkdtemp(prefix="tpu_schedule_")
  atexit.register(shutil.rmtree, directory, ignore_errors=True)
  # Of all passes' programs the last, and which ops share one: printing them
  # all takes longer than to compile them.
  tpu_topology.prepare(
    f"--xla_jf_dump_to={directory} --xla_jf_dump_llo_text=true"
    " --xla_jf_dump_llo_pass_label_regex=(final|.*deduplication).*"
  )
  _directory = directory
