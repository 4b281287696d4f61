# SPDX-License-Identifier: Apache-2.0
"""Reads the text of a compiled XLA program (HLO) into plain objects.

    HloProgram     computations by name, and which one is the entry
    Instruction name, opcode, shapes, operands by name, the text behind them
    Shape       element type, dimensions, memory space, bytes as laid out

Only what hlo/cost.py asks for is understood; everything else stays text in
`attributes`. The text is that of `compiled.as_text()`: one instruction a line,
computations in braces, after partitioning, so shapes are those of one device.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import re

Number = int | float

_ITEM_BYTES = {
  "pred": 1,
  "s4": 0.5,
  "u4": 0.5,
  "s8": 1,
  "u8": 1,
  "s16": 2,
  "u16": 2,
  "f16": 2,
  "bf16": 2,
  "s32": 4,
  "u32": 4,
  "f32": 4,
  "s64": 8,
  "u64": 8,
  "f64": 8,
  "c64": 8,
  "c128": 16,
  # Order and handles, no data.
  "token": 0,
  "opaque": 0,
}
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_NAME = re.compile(r"%([\w.\-]+)")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array, or one of the arrays of a tuple.

  Attributes:
    dtype: XLA's name of the element type, such as "bf16".
    dims: dimensions.
    space: memory space; 0 is the device's main memory (HBM).
    nbytes: bytes of the elements.
    padded_nbytes: bytes as laid out, with the padding of the first tile.
  """

  dtype: str
  dims: tuple[int, ...]
  space: int
  nbytes: Number
  padded_nbytes: Number

  @property
  def size(self) -> int:
    """Number of elements."""
    return math.prod(self.dims)


def _item_bytes(dtype: str) -> Number:
  if dtype in _ITEM_BYTES:
    return _ITEM_BYTES[dtype]
  if dtype.startswith("f8"):
    return 1
  raise ValueError(
    f"the program has elements of type {dtype!r}, whose size is not known;"
    " add it to genrec_jax/hlo/text.py"
  )


def _padded(dims: tuple[int, ...], layout: str) -> int:
  """Elements with the minor dimensions rounded up to the layout's tile."""
  order, _, rest = layout.partition(":")
  tile = re.match(r"T\(([\d,]+)\)", rest)
  if not tile or not dims:
    return math.prod(dims)
  tile = [int(x) for x in tile[1].split(",")]
  minor_to_major = [int(x) for x in order.split(",")]
  padded = [dims[i] for i in minor_to_major]
  for i, step in enumerate(reversed(tile[-len(padded) :])):
    padded[i] = -(-padded[i] // step) * step
  return math.prod(padded)


def parse_shapes(text: str) -> tuple[Shape, ...]:
  """All arrays of a type: one, or those of a tuple in order, flattened."""
  shapes = []
  for dtype, dims, layout in _SHAPE.findall(text):
    dims = tuple(int(x) for x in dims.replace("<=", "").split(",") if x)
    item = _item_bytes(dtype)
    space = re.search(r"S\((\d+)\)", layout)
    shapes.append(
      Shape(
        dtype=dtype,
        dims=dims,
        space=int(space[1]) if space else 0,
        nbytes=math.prod(dims) * item,
        padded_nbytes=_padded(dims, layout) * item,
      )
    )
  return tuple(shapes)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: unique within the computation.
    opcode: such as "fusion" or "all-reduce-start".
    shapes: of the result; several where it is a tuple.
    is_tuple: whether the result is a tuple.
    argument: the text between the parentheses.
    operands: names of the instructions it reads.
    attributes: the text after the parentheses.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  is_tuple: bool
  argument: str
  operands: tuple[str, ...]
  attributes: str

  def called(self, *keys: str) -> tuple[str, ...]:
    """Names of the computations under the keys, such as "calls", "body"."""
    found = []
    for key in keys:
      match = re.search(rf"\b{key}=(%[\w.\-]+|\{{[^}}]*\}})", self.attributes)
      if match:
        found += _NAME.findall(match[1])
    return tuple(found)

  def attribute(self, pattern: str) -> str | None:
    """The first group of a regular expression within the attributes."""
    match = re.search(pattern, self.attributes)
    return match[1] if match else None


@dataclasses.dataclass(frozen=True)
class Computation:
  """Instructions by name, in order of execution, and the name of the last."""

  instructions: Mapping[str, Instruction]
  root: str

  def __iter__(self) -> Iterator[Instruction]:
    return iter(self.instructions.values())

  def __getitem__(self, name: str) -> Instruction:
    return self.instructions[name]

  def operands(self, instruction: Instruction) -> list[Instruction]:
    """The instructions that an instruction reads."""
    return [self.instructions[name] for name in instruction.operands]

  def parameters(self) -> list[Instruction]:
    """Parameters by number."""
    found = [i for i in self if i.opcode == "parameter"]
    return sorted(found, key=lambda i: int(i.argument))


@dataclasses.dataclass(frozen=True)
class HloProgram:
  """A module: its computations, the entry's name, its number of devices."""

  computations: Mapping[str, Computation]
  entry: str
  num_partitions: int


def _closing(text: str, start: int) -> int:
  """Index of the parenthesis that closes the one at `start`."""
  depth = 0
  for i in range(start, len(text)):
    depth += (text[i] == "(") - (text[i] == ")")
    if depth == 0:
      return i
  raise ValueError(f"unbalanced parentheses in the program: {text[:120]!r}")


def _instruction(line: str) -> Instruction:
  name, _, rest = line.partition(" = ")
  is_tuple = rest.startswith("(")
  end = _closing(rest, 0) + 1 if is_tuple else rest.index(" ")
  kind, rest = rest[:end], rest[end:].lstrip()
  opening = rest.index("(")
  closing = _closing(rest, opening)
  argument = rest[opening + 1 : closing]
  return Instruction(
    name=name.removeprefix("ROOT ").lstrip("%"),
    opcode=rest[:opening],
    shapes=parse_shapes(kind),
    is_tuple=is_tuple,
    argument=argument,
    operands=tuple(_NAME.findall(argument)),
    attributes=rest[closing + 1 :],
  )


def parse(text: str) -> HloProgram:
  """Reads `compiled.as_text()`.

  Raises:
    ValueError: the text has no entry computation.
  """
  computations, entry = {}, None
  name, instructions, root = None, {}, None
  for line in text.splitlines():
    if name is None:
      header = _HEADER.match(line)
      if header:
        name, instructions, root = header[2], {}, None
        entry = name if header[1] else entry
    elif line.startswith("}"):
      computations[name] = Computation(instructions, root)
      name = None
    elif " = " in line:
      line = line.strip()
      instruction = _instruction(line)
      instructions[instruction.name] = instruction
      root = instruction.name if line.startswith("ROOT ") else root
  if entry is None:
    raise ValueError("this is no text of a compiled program: it has no ENTRY")
  partitions = re.search(r"num_partitions=(\d+)", text)
  return HloProgram(
    computations, entry, int(partitions[1]) if partitions else 1
  )
