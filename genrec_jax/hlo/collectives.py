# SPDX-License-Identifier: Apache-2.0
"""What one collective of a compiled program sends.

The payload is what a device puts in or takes out, whichever is larger. By a
ring over the n devices of a group a device sends (n - 1) / n of it, and twice
that for all-reduce, which is reduce-scatter and all-gather; a permutation
sends it whole. No algorithm sends less.
"""

import dataclasses
import re

from genrec_jax.hlo.text import Instruction, Number

KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "ragged-all-to-all",
  "collective-permute",
  "collective-broadcast",
)


@dataclasses.dataclass(frozen=True)
class Traffic:
  """Collectives of one kind.

  Attributes:
    count: how many run.
    nbytes: payload per device: the larger of what goes in and comes out.
    sent_nbytes: what a device sends, by a ring over the group.
  """

  count: Number = 0
  nbytes: Number = 0
  sent_nbytes: Number = 0

  def plus(self, other: "Traffic", times: Number = 1) -> "Traffic":
    """Returns self + times * other."""
    return Traffic(
      self.count + times * other.count,
      self.nbytes + times * other.nbytes,
      self.sent_nbytes + times * other.sent_nbytes,
    )


def is_continuation(one: Instruction) -> bool:
  """Whether a collective goes on with one that another fusion started.

  The TPU compiler writes an all-gather that overlaps with products into every
  fusion from its start to its end; only the start has no flags yet.
  """
  start = one.attribute(r'"flag_start":"(-?\d+)"')
  return start is not None and start != "-1"


def _group_size(text: str, devices: int) -> int:
  """Devices that take part in one collective together."""
  named = re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", text)
  if named:
    sizes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
    size = 1
    for axis, part in re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", named[2]):
      size *= int(part or sizes[axis])
    return size
  iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", text)
  if iota:
    return int(iota[2])
  listed = re.search(r"replica_groups=\{\{([\d,]*)\}", text)
  return len(listed[1].split(",")) if listed else devices


def collective_traffic(
  kind: str, operands: list[Instruction], one: Instruction, devices: int
) -> Traffic:
  read = sum(s.nbytes for o in operands for s in o.shapes)
  # The result of a start holds the operands again, and handles.
  payload = read
  if kind in ("all-gather", "collective-broadcast"):
    started = one.opcode.endswith("-start") and len(one.shapes) > 1
    payload = sum(s.nbytes for s in one.shapes) - (read if started else 0)
  if kind.startswith("collective-"):
    return Traffic(1, payload, payload)
  size = _group_size(one.attributes, devices)
  share = (size - 1) / size * (2 if kind == "all-reduce" else 1)
  return Traffic(1, payload, payload * share)
