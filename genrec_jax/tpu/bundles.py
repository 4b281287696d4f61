# SPDX-License-Identifier: Apache-2.0
"""One TPU program's final schedule: bundles, loops, branches, units.

The TPU compiler writes for every kernel and fusion the program it scheduled:
one line per bundle (what all units do in one cycle), with its address, `LB:`
at the first bundle of a loop body, and `sbr.rel` where it branches. A branch
back closes a loop; a branch ahead skips what lies between. A loop's trips
come from its exit test (counter, start, step, bound). A Pallas grid, and the
window pipeline of a fusion, are loops whose counter is marked `iteration
index`; their two extra turns fill and drain the pipeline.

    bundles, each counted once            what the compiler reports
    one_step()    inner loops multiplied, one turn of the grid loop
    executed()    every loop multiplied

What a loop hides is thus seen. A loop whose trips the program decides while
it runs has trips None, and what depends on it says so. DMA waits are not in
a static schedule.
"""

import dataclasses
import re

import numpy as np

UNITS = (
  "MATMUL",
  "MATPUSH",
  "XLU",
  "VALU",
  "VPOP",
  "EUP",
  "VLOAD",
  "VLOAD:FILL",
  "VSTORE",
  "VSTORE:SPILL",
  "SALU",
)

# A branch takes effect after this many further bundles.
_DELAY_SLOTS = 4
# Turns of a pipelined loop that only fetch the first or store the last block.
_PIPELINE_TURNS = 2

_BUNDLE = re.compile(r"^\s*(?:0x)?([0-9a-f]+)\s+(?:[A-Z]{2})?\s*:\s*>*\s*\{")
_START = re.compile(r"Start(?:/End empty)? region (\d+)")
_BRANCH = re.compile(r"sbr\.rel (?:\((!?)(%p\w+)\) )?target = \$region(\d+)")
_COMPARE = re.compile(
  r"(%p\w+) = scmp\.(\w+)\.[us]32(?:\.\w+)? (?:\(!?%p\w+\), )?"
  r"(%?\w+), (%?\w+)"
)
_ADD = re.compile(r"(%s\w+) = sadd\.s32 (?:\(!?%p\w+\), )?(%?\w+), (%?\w+)")
_PHI = re.compile(r"(%s\w+) = sphi (%s\w+), (%s\w+)")
_MOVE = re.compile(r"(%s\w+) = smov\.u32 (?:\(!?%p\w+\), )?(%?\w+)")
_OPCODE = re.compile(r"exit bundle: %\S+ = ([\w-]+)\(")
_CALL = re.compile(r"inlined_call [^/]*/\* %?([^\s=]+) = ")


@dataclasses.dataclass(frozen=True)
class BundleLoop:
  """Bundles [start, end) run `trips` times; None: decided at run time.

  grid: a Pallas grid or a fusion's window pipeline. trips are then grid
  steps, without the turns that fill and drain the pipeline.
  """

  start: int
  end: int
  trips: int | None
  grid: bool


@dataclasses.dataclass(frozen=True)
class Branch:
  """Bundles [start, end) that a predicate may skip."""

  start: int
  end: int


@dataclasses.dataclass(frozen=True)
class Bundles:
  """A scheduled program.

  capacity and use have one entry per unit of UNITS; use is (bundles, units),
  how many slots of the unit each bundle fills. calls: the ops that a
  top-level program calls, (address, name). vmem_bytes: scoped VMEM. opcode:
  the HLO operation, "custom-call" for a Pallas kernel.
  """

  name: str
  bundles: int
  loops: tuple[BundleLoop, ...]
  branches: tuple[Branch, ...]
  capacity: tuple[int, ...]
  use: np.ndarray
  calls: tuple[tuple[int, str], ...] = ()
  vmem_bytes: int = 0
  opcode: str = ""

  @property
  def grid(self) -> BundleLoop | None:
    """The outermost grid loop: one turn is one grid step."""
    grids = [loop for loop in self.loops if loop.grid]
    return max(grids, key=lambda loop: loop.end - loop.start, default=None)

  def unknown_loops(self) -> tuple[BundleLoop, ...]:
    """Loops whose trips only the running program knows."""
    return tuple(loop for loop in self.loops if loop.trips is None)

  def weights(self, *, grid_steps: int | None = 1) -> np.ndarray:
    """(bundles,) times each bundle runs, with grid_steps turns of the grid.

    grid_steps None: the grid's own steps. A loop of unknown trips counts
    once: ask unknown_loops().
    """
    weights = np.ones(self.bundles, np.int64)
    grid = self.grid
    for loop in self.loops:
      trips = 1 if loop.trips is None else loop.trips
      if loop == grid and grid_steps is not None:
        trips = grid_steps
      weights[loop.start : loop.end] *= trips
    return weights

  def one_step(self) -> int:
    """Bundles of one grid step, inner loops multiplied, plus what surrounds
    the grid loop. Both sides of every branch count.
    """
    return int(self.weights().sum())

  def executed(self) -> int:
    """Bundles of a call, every loop multiplied, every branch taken."""
    return int(self.weights(grid_steps=None).sum())

  def unit_use(self) -> dict[str, float]:
    """Share of each unit's slots that one grid step fills."""
    weights = self.weights()
    slots = (weights[:, None] * self.use).sum(axis=0)
    total = weights.sum()
    return {
      unit: float(n / (total * max(1, capacity)))
      for unit, n, capacity in zip(UNITS, slots, self.capacity, strict=True)
    }

  def spills(self) -> tuple[int, int]:
    """Vector registers stored to and filled from VMEM in one grid step."""
    slots = (self.weights()[:, None] * self.use).sum(axis=0)
    by_unit = dict(zip(UNITS, slots, strict=True))
    return int(by_unit["VSTORE:SPILL"]), int(by_unit["VLOAD:FILL"])


def parse_bundles(
  name: str, program: str, utilization: str, *, vmem_bytes: int = 0
) -> Bundles:
  """Reads `*-final_bundles.txt` and `*-final_hlo-static-per-bundle-...txt`.

  Raises:
    ValueError: the texts are not such a pair, as after a change of compiler.
  """
  lines = [line for line in program.splitlines() if _BUNDLE.match(line)]
  addresses = [int(_BUNDLE.match(line).group(1), 16) for line in lines]
  if not lines or addresses != list(range(len(lines))):
    raise ValueError(
      f"{name}: the dump of bundles is not one line per bundle from address"
      f" 0 ({len(lines)} lines matched). Is it *-final_bundles.txt of libtpu"
      " 0.0.52?"
    )
  capacity, use = _parse_utilization(name, utilization, len(lines))
  loops, branches = _find_jumps(name, lines)
  return Bundles(
    name=name,
    bundles=len(lines),
    loops=loops,
    branches=branches,
    capacity=capacity,
    use=use,
    calls=tuple(
      (at, match.group(1))
      for at, line in enumerate(lines)
      for match in _CALL.finditer(line)
    ),
    vmem_bytes=vmem_bytes,
    opcode=opcode.group(1) if (opcode := _OPCODE.search(lines[-1])) else "",
  )


def _parse_utilization(
  name: str, text: str, bundles: int
) -> tuple[tuple[int, ...], np.ndarray]:
  """Slots per unit, and those that each bundle fills."""
  lines = [line for line in text.splitlines() if line.strip()]
  names = tuple(part.strip() for part in lines[1].split(","))
  if names != UNITS:
    raise ValueError(f"{name}: units {names} in the dump; known: {UNITS}.")
  capacity = tuple(int(n) for n in lines[2].split())
  use = np.array([[int(n) for n in line.split()] for line in lines[4:]])
  if use.shape[1:] != (len(UNITS),) or len(use) < bundles:
    raise ValueError(
      f"{name}: the use of units has shape {use.shape} for {bundles} bundles."
    )
  return capacity, use[:bundles]


def _find_jumps(
  name: str, lines: list[str]
) -> tuple[tuple[BundleLoop, ...], tuple[Branch, ...]]:
  """Branches back are loops; branches ahead are predicated stretches."""
  starts = {
    region: at
    for at, line in enumerate(lines)
    for region in _START.findall(line)
  }
  # The exit bundle is the one place that a branch may skip to whose region
  # the dump does not name.
  exit_at = len(lines) - 1 if "PF:" in lines[-1] else None
  counters = _Counters("\n".join(lines))
  loops: dict[int, BundleLoop] = {}
  branches = []
  for at, line in enumerate(lines):
    for negated, predicate, region in _BRANCH.findall(line):
      after = min(at + 1 + _DELAY_SLOTS, len(lines))
      start = starts.get(region, exit_at)
      if start is None:
        raise ValueError(
          f"{name}: bundle {at:#x} jumps to an unknown region {region}."
        )
      if start > at:
        if start > after:
          branches.append(Branch(after, start))
        continue
      grid = "iteration index" in lines[start]
      trips = counters.trips(predicate, bool(negated))
      if grid and trips is not None:
        trips = max(1, trips - _PIPELINE_TURNS)
      loops[start] = BundleLoop(start, after, trips, grid)
  return tuple(loops.values()), tuple(branches)


class _Counters:
  """Scalar registers that count loops."""

  def __init__(self, text: str):
    self._compares = {m[0]: m[1:] for m in _COMPARE.findall(text)}
    self._adds = {m[0]: m[1:] for m in _ADD.findall(text)}
    self._phis = {m[0]: m[1:] for m in _PHI.findall(text)}
    self._moves = {m[0]: m[1] for m in _MOVE.findall(text)}

  def _constant(self, operand: str) -> int | None:
    seen = set()
    while operand.startswith("%"):
      if operand in seen or operand not in self._moves:
        return None
      seen.add(operand)
      operand = self._moves[operand]
    value = int(operand, 0)
    return value - 2**32 if value >= 2**31 else value

  def trips(self, predicate: str, negated: bool) -> int | None:
    """Turns of the loop that goes on while (not) predicate.

    A start that is not in sight counts as 0 and a step as 1: no fewer turns
    than the loop makes.
    """
    if predicate not in self._compares:
      return None
    relation, counter, bound_operand = self._compares[predicate]
    bound = self._constant(bound_operand)
    goes_on = {("ge", True), ("eq", True), ("lt", False), ("ne", False)}
    if bound is None or (relation, negated) not in goes_on:
      return None
    step, start = 1, 0
    if counter in self._adds:
      amounts = [self._constant(o) for o in self._adds[counter]]
      step = next((a for a in amounts if a is not None), 1)
      phis = [self._phis[o] for o in self._adds[counter] if o in self._phis]
      if phis:
        start = self._constant(phis[0][0]) or 0
    if step <= 0 or bound <= start:
      return None
    return -(-(bound - start) // step)
