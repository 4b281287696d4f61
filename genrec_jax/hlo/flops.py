# SPDX-License-Identifier: Apache-2.0
"""FLOPs of one matrix product of a compiled program, 2 per multiply-add.

    dot          2 * (elements of the result) * (contracted dimensions)
    convolution  2 * batch * in / groups * out * (window places within bounds)

The TPU compiler writes every product as a convolution, batched ones as windows
that lie mostly in padding; places in padding are no work, as in XLA's own cost
analysis. The GPU compiler hands products to cuBLAS; the call states which
dimensions are contracted, and its first result is the product:

    cuBLAS       2 * (elements of the product) * (contracted dimensions)
"""

import math
import re

from genrec_jax.hlo.text import Instruction, Number

# bfloat16 products that the matrix unit makes of one float32 product.
_PASSES = {"high": 3, "highest": 6}

# Beginnings of the targets of calls that multiply, on GPUs.
LIBRARIES = ("__cublas$", "__cudnn$")


def passes(operands: list[Instruction], product: Instruction) -> int:
  """Passes of the matrix unit: 1 unless a float32 product asks for more."""
  asked = product.attribute(r"operand_precision=\{(\w+)")
  if any(o.shapes[0].dtype == "bf16" for o in operands):
    return 1
  return _PASSES.get(asked, 1)


def dot_flops(operands: list[Instruction], dot: Instruction) -> Number:
  contracting = dot.attribute(r"lhs_contracting_dims=\{([\d,]*)\}") or ""
  lhs = operands[0].shapes[0].dims
  depth = math.prod(lhs[int(i)] for i in contracting.split(",") if i)
  return 2.0 * dot.shapes[0].size * depth


def library_flops(
  operands: list[Instruction], call: Instruction
) -> Number | None:
  """Of a product that a library makes; None where the call says no shapes."""
  contracting = call.attribute(r'"lhs_contracting_dimensions":\[([^\]]*)\]')
  if contracting is None:
    return None
  lhs = operands[0].shapes[0].dims
  places = re.findall(r"\d+", contracting)
  depth = math.prod(lhs[int(i)] for i in places)
  return 2.0 * call.shapes[0].size * depth


def _window(text: str, key: str, length: int, default: int) -> list[int]:
  """The numbers of one key of a window, such as size=1x2."""
  match = re.search(rf"\b{key}=([\d\-x_]+)", text)
  if not match:
    return [default] * length
  return [int(x.split("_")[0]) for x in match[1].split("x")]


def _valid_places(
  out: int, size: int, inner: int, step: int, low: int, dilate: int, hole: int
) -> int:
  """Pairs of output place and window place that meet an element.

  The TPU compiler writes batched products as convolutions whose windows lie
  mostly in padding; those places are no work.
  """
  if size == 1 and low == 0 and hole == 1:
    return min(out, -(-inner // step))
  count = 0
  reach = (inner - 1) * hole
  for k in range(size):
    start = k * dilate - low
    if hole == 1:
      first = max(0, -(start // step))
      last = min(out - 1, (reach - start) // step)
      count += max(0, last - first + 1)
    else:
      places = (start + o * step for o in range(out))
      count += sum(0 <= p <= reach and p % hole == 0 for p in places)
  return count


def convolution_flops(
  operands: list[Instruction], convolution: Instruction
) -> Number:
  labels = convolution.attribute(r"dim_labels=(\S+?)(?:,|$)")
  lhs_labels, rhs_labels, out_labels = re.split(r"_|->", labels)
  lhs, rhs = operands[0].shapes[0].dims, operands[1].shapes[0].dims
  out = convolution.shapes[0].dims
  groups = int(convolution.attribute(r"feature_group_count=(\d+)") or 1)
  batch_groups = int(convolution.attribute(r"batch_group_count=(\d+)") or 1)
  flops = 2.0 * lhs[lhs_labels.index("f")] / groups
  flops *= rhs[rhs_labels.index("o")]
  flops *= lhs[lhs_labels.index("b")] / batch_groups
  spatial = [label for label in lhs_labels if label.isdigit()]
  window = convolution.attribute(r"window=\{([^}]*)\}") or ""
  sizes = _window(window, "size", len(spatial), 1)
  steps = _window(window, "stride", len(spatial), 1)
  lows = _window(window, "pad", len(spatial), 0)
  dilates = _window(window, "rhs_dilate", len(spatial), 1)
  holes = _window(window, "lhs_dilate", len(spatial), 1)
  for i, label in enumerate(spatial):
    flops *= _valid_places(
      out[out_labels.index(label)],
      sizes[i],
      lhs[lhs_labels.index(label)],
      steps[i],
      lows[i],
      dilates[i],
      holes[i],
    )
  return flops
