# SPDX-License-Identifier: Apache-2.0
"""Bytes that one instruction reads from and writes to the main memory.

Operands and results, with the padding of their layout; arrays that the
compiler keeps in the chip's fast memory cost nothing. Slices, gathers, updates
in place and scatters count by what they touch, also inside a fusion, or a look-
up in a table would cost the table.
"""

from genrec_jax.hlo.collectives import is_continuation
from genrec_jax.hlo.text import (
  Computation,
  HloProgram,
  Instruction,
  Number,
  Shape,
)

# These move nothing, or what they move is counted elsewhere.
_FREE = frozenset(
  "parameter constant tuple get-tuple-element bitcast after-all call while"
  " conditional partition-id replica-id opt-barrier async-start async-update"
  " async-done copy-done add-dependency".split()
)


def _hbm(shapes: tuple[Shape, ...]) -> Number:
  return sum(s.padded_nbytes for s in shapes if s.space == 0)


def _part(whole: Shape, part: Shape) -> Number:
  """Bytes of a slice of an array that lies in the main memory."""
  return part.padded_nbytes if whole.space == 0 else 0.0


class MemoryReader:
  """Bytes of the instructions of one program."""

  def __init__(self, program: HloProgram):
    self._program = program

  def nbytes(self, operands: list[Instruction], one: Instruction) -> Number:
    opcode = one.opcode
    if opcode in _FREE or opcode.endswith("-done"):
      return 0.0
    if opcode == "fusion":
      return self._fusion_nbytes(operands, one)
    if opcode in ("dynamic-slice", "slice", "gather"):
      read = _part(operands[0].shapes[0], one.shapes[0])
      return read + _hbm(one.shapes)
    if opcode == "dynamic-update-slice":
      return 2 * _part(one.shapes[0], operands[1].shapes[0])
    if opcode == "scatter":
      updates = operands[-1].shapes[0]
      return _hbm((updates,)) + 2 * _part(one.shapes[0], updates)
    if opcode in ("copy-start", "slice-start"):
      # The result holds both ends; a slice's is smaller than where it is from.
      moved = min(one.shapes[:2], key=lambda s: s.padded_nbytes)
      return sum(_part(end, moved) for end in one.shapes[:2])
    if opcode.endswith("-start"):
      # The result repeats the operands and adds handles: one way only.
      return 2 * sum(_hbm(o.shapes) for o in operands)
    return _hbm(one.shapes) + sum(_hbm(o.shapes) for o in operands)

  def _fusion_nbytes(
    self, operands: list[Instruction], fusion: Instruction
  ) -> Number:
    inner = self._program.computations[fusion.called("calls")[0]]
    total = 0.0
    for operand, parameter in zip(operands, inner.parameters(), strict=True):
      read = self._read(inner, parameter.name)
      whole = _hbm(operand.shapes)
      total += whole if read is None else min(whole, read)
    root = inner[inner.root]
    results = inner.operands(root) if root.opcode == "tuple" else [root]
    for result, shape in zip(results, fusion.shapes, strict=False):
      total += self._written(inner, result, shape)
    return total

  def _read(self, inner: Computation, name: str) -> Number | None:
    """Bytes of a parameter that a fusion reads; None for the whole."""
    total = 0.0
    for user in inner:
      for place, operand in enumerate(user.operands):
        if operand != name:
          continue
        read = self._read_by(inner, user, place)
        if read is None:
          return None
        total += read
    return total

  def _read_by(
    self, inner: Computation, user: Instruction, place: int
  ) -> Number | None:
    opcode = user.opcode
    if opcode in ("bitcast", "reshape"):
      return self._read(inner, user.name)
    if opcode in ("dynamic-slice", "slice", "gather") and place == 0:
      return user.shapes[0].padded_nbytes
    if opcode == "dynamic-update-slice" and place == 0:
      return 0.0
    # Handed on to the next part of a collective that is under way.
    if opcode == "tuple" or is_continuation(user):
      return 0.0
    if opcode == "scatter" and place == 0:
      return inner[user.operands[-1]].shapes[0].padded_nbytes
    if opcode == "fusion":
      called = self._program.computations[user.called("calls")[0]]
      return self._read(called, called.parameters()[place].name)
    return None

  def _written(
    self, inner: Computation, result: Instruction, shape: Shape
  ) -> Number:
    while result.opcode in ("bitcast", "reshape"):
      result = inner[result.operands[0]]
    if result.opcode == "parameter" or is_continuation(result):
      return 0.0
    if result.opcode == "dynamic-update-slice":
      return _part(shape, inner[result.operands[1]].shapes[0])
    if result.opcode == "scatter":
      return _part(shape, inner[result.operands[-1]].shapes[0])
    return _hbm((shape,))
