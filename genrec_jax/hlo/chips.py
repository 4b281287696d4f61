# SPDX-License-Identifier: Apache-2.0
"""What a TPU chip can do at most, and which slices of chips exist.

    chip   bf16 TFLOP/s   memory   memory TB/s   network Gbit/s
    v4         275         32 GB      1.2            2400
    v5e        197         16 GB      0.82           1600
    v5p        459         95 GB      2.77           4800
    v6e        918         32 GB      1.64           3584

The vendor's figures; the network's is all links of a chip together, one way.
`memory_bytes` is what the compiler lets a program use, from its own message
when one does not fit (libtpu 0.0.52): a little less than what is sold.
"""

from collections.abc import Mapping
import dataclasses

_GIB = 2**30
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
# The smaller tori, and all whose sides are multiples of 4 up to the pod's.
_SMALL = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")


def _tori(*pod: int) -> tuple[str, ...]:
  sides = range(4, max(pod) + 1, 4)
  cubes = [
    (a, b, c)
    for a in sides
    for b in sides
    for c in sides
    if a <= b <= c and all(x <= y for x, y in zip((a, b, c), pod, strict=True))
  ]
  cubes.sort(key=lambda s: (s[0] * s[1] * s[2], s))
  return (*_SMALL, *("x".join(map(str, sides)) for sides in cubes))


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of TPU.

  Attributes:
    name: as in the name of a slice.
    flops_per_second: bfloat16 products.
    memory_bytes: that a program may use.
    memory_bytes_per_second: of the main memory.
    network_bytes_per_second: over all links to other chips, one way.
    slices: shapes that can be had.
    libtpu_config: what makes libtpu show a chip's two cores as one device.
  """

  name: str
  flops_per_second: float
  memory_bytes: int
  memory_bytes_per_second: float
  network_bytes_per_second: float
  slices: tuple[str, ...]
  libtpu_config: str | None = None


def _gbit(per_second: int) -> float:
  return per_second * 1e9 / 8


CHIPS: Mapping[str, Chip] = {
  chip.name: chip
  for chip in (
    Chip(
      "v4",
      275e12,
      int(30.75 * _GIB),
      1.2e12,
      _gbit(2400),
      _tori(12, 16, 16),
      "megacore",
    ),
    Chip("v5e", 197e12, int(15.75 * _GIB), 0.82e12, _gbit(1600), _FLAT),
    Chip(
      "v5p", 459e12, int(95.73 * _GIB), 2.77e12, _gbit(4800), _tori(16, 16, 24)
    ),
    Chip("v6e", 918e12, int(31.24 * _GIB), 1.64e12, _gbit(3584), _FLAT),
  )
}
