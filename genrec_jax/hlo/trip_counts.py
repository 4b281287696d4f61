# SPDX-License-Identifier: Apache-2.0
"""How often the body of a compiled while loop runs, and on what.

XLA's own cost analysis counts a loop body once, so a scan over ten layers
costs as much as one. The TPU compiler's text carries no trip count either; it
is found by running the loop on what is known: the scalar integers of its state
(initial values that are constants, the arithmetic of condition and body on
them). Arrays are unknown, and so is all that depends on one. A loop whose
length depends on the loop around it is found from that one's states.
"""

from collections.abc import Callable, Mapping, Sequence
import operator
from typing import Any

from genrec_jax.hlo.text import Computation, HloProgram, Instruction

# Beyond this a loop is called unknown: no loop of a step is that long.
_MAX_TRIPS = 1_000_000

_COMPARE = {
  "LT": operator.lt,
  "LE": operator.le,
  "GT": operator.gt,
  "GE": operator.ge,
  "EQ": operator.eq,
  "NE": operator.ne,
}
_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
  "add": operator.add,
  "subtract": operator.sub,
  "multiply": operator.mul,
  "minimum": min,
  "maximum": max,
  "and": operator.and_,
  "or": operator.or_,
  "not": operator.not_,
  "negate": operator.neg,
}
_SAME = ("copy", "bitcast", "convert", "reshape", "opt-barrier")


class Values:
  """Known values of one computation, given those of its parameters.

  Args:
    program: the whole program.
    computation: the one to know about.
    given: value of each parameter, as `of` returns them; None: none is known.
  """

  def __init__(
    self,
    program: HloProgram,
    computation: Computation,
    given: Sequence[Any] | None = None,
  ):
    self._program = program
    self._computation = computation
    self._given = given
    self._known: dict[str, Any] = {}

  def of(self, name: str) -> Any:
    """An int or bool, a list for a tuple, or None: not known."""
    if name not in self._known:
      self._known[name] = self._evaluate(self._computation[name])
    return self._known[name]

  def _evaluate(self, instruction: Instruction) -> Any:
    opcode = instruction.opcode
    if opcode == "parameter":
      number = int(instruction.argument)
      return None if self._given is None else self._given[number]
    if opcode == "tuple":
      return [self.of(name) for name in instruction.operands]
    if opcode == "get-tuple-element":
      values = self.of(instruction.operands[0])
      index = int(instruction.attribute(r"index=(\d+)"))
      return values[index] if isinstance(values, list) else None
    if opcode in ("fusion", "call"):
      called = instruction.called("calls", "to_apply")[0]
      return _result(
        self._program, called, [self.of(n) for n in instruction.operands]
      )
    if instruction.is_tuple or instruction.shapes[0].size != 1:
      # A copy of a tuple is rare and keeps what is known of it.
      same = opcode in _SAME and instruction.is_tuple
      return self.of(instruction.operands[0]) if same else None
    return self._scalar(instruction)

  def _scalar(self, instruction: Instruction) -> Any:
    opcode, shape = instruction.opcode, instruction.shapes[0]
    if shape.dtype[0] not in "sup":  # s32, u32, pred
      return None
    if opcode == "constant":
      text = instruction.argument.strip("{} ")
      named = {"true": True, "false": False}
      return named[text] if text in named else int(text)
    values = [self.of(name) for name in instruction.operands]
    if any(value is None or isinstance(value, list) for value in values):
      return None
    if opcode in _SAME:
      return values[0]
    if opcode == "compare":
      compare = _COMPARE[instruction.attribute(r"direction=(\w+)")]
      return compare(*values)
    if opcode == "select":
      return values[1] if values[0] else values[2]
    if opcode in _ARITHMETIC:
      return _ARITHMETIC[opcode](*values)
    return None


def _result(program: HloProgram, name: str, given: Sequence[Any]) -> Any:
  computation = program.computations[name]
  return Values(program, computation, given).of(computation.root)


def loop_states(
  program: HloProgram, values: Values, loop: Instruction
) -> list[Any] | None:
  """The state of a `while` before each run of its body, as far as it is known.

  Args:
    program: the whole program.
    values: what is known of the computation that the loop stands in.
    loop: its `while` instruction.

  Returns:
    One state per run; None where the number of runs is unknown.
  """
  (condition,), (body,) = loop.called("condition"), loop.called("body")
  state, states = values.of(loop.operands[0]), []
  while len(states) < _MAX_TRIPS:
    go_on = _result(program, condition, [state])
    if go_on is None:
      break
    if not go_on:
      return states
    states.append(state)
    state = _result(program, body, [state])
  # What XLA found out itself, on CPUs and GPUs.
  stated = loop.attribute(r'"known_trip_count":\{"n":"(\d+)"\}')
  return [None] * int(stated) if stated else None
