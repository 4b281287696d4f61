# SPDX-License-Identifier: Apache-2.0
"""Model FLOP utilisation: the work of a program over what its device can do.

    MFU = FLOPs of one run on one device / (seconds * peak)

FLOPs are those of matrix products and kernels in the compiled program
(hlo/cost.py), so what rematerialisation computes again counts as work. The
peak is the vendor's figure for dense products of a dtype, by jax's name of the
device. A device that is not listed has no peak, and its MFU is None: a guess
would look like a measurement. bench/train_step.py reports it of a train step,
and training of the steps that it takes (train/step_meter.py).
"""

from collections.abc import Mapping
import dataclasses

import jax

from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.chips import CHIPS
from genrec_jax.hlo.cost import Cost, program_cost


@dataclasses.dataclass(frozen=True)
class Peak:
  """FLOPs per second of dense products.

  Attributes:
    bfloat16: of bfloat16 (and float16) operands.
    float32: of float32 operands at the default precision: a TPU multiplies
      them as bfloat16, an NVIDIA GPU as TF32.
  """

  bfloat16: float
  float32: float


def _tpu(name: str) -> Peak:
  peak = CHIPS[name].flops_per_second
  return Peak(bfloat16=peak, float32=peak)


# From NVIDIA's data sheets, halved where they state figures with sparsity.
_A100 = Peak(312e12, 156e12)
_H100_SXM = Peak(989.4e12, 494.7e12)
_H100_PCIE = Peak(756e12, 378e12)
_H100_NVL = Peak(835.5e12, 417.8e12)

# By the whole name: a MIG slice is called like its GPU with an ending, and is
# a part of it.
PEAKS: Mapping[str, Peak] = {
  "TPU v4": _tpu("v4"),
  "TPU v5": _tpu("v5p"),
  "TPU v5p": _tpu("v5p"),
  "TPU v5 lite": _tpu("v5e"),
  "TPU v5e": _tpu("v5e"),
  "TPU v6 lite": _tpu("v6e"),
  "TPU v6e": _tpu("v6e"),
  "NVIDIA A100-SXM4-40GB": _A100,
  "NVIDIA A100-SXM4-80GB": _A100,
  "NVIDIA A100-PCIE-40GB": _A100,
  "NVIDIA A100 80GB PCIe": _A100,
  "NVIDIA H100 80GB HBM3": _H100_SXM,
  "NVIDIA H100 PCIe": _H100_PCIE,
  "NVIDIA H100 NVL": _H100_NVL,
  "NVIDIA H200": _H100_SXM,
  "NVIDIA H200 NVL": _H100_NVL,
}


def peak_flops(device_kind: str, dtype: str) -> float | None:
  """FLOPs per second that a device can do at most; None where not known.

  Args:
    device_kind: jax's name of the device.
    dtype: of the operands, "bfloat16", "float16" or "float32".

  Raises:
    ValueError: another dtype.
  """
  names = {"bfloat16": "bfloat16", "float16": "bfloat16", "float32": "float32"}
  if dtype not in names:
    raise ValueError(
      f"dtype={dtype!r} has no peak here: use one of {', '.join(names)}."
    )
  peak = PEAKS.get(device_kind)
  return None if peak is None else getattr(peak, names[dtype])


def mfu(
  flops: hlo.Number, seconds: float, device_kind: str, dtype: str
) -> float | None:
  """The share of a device's peak that a run used; None without a peak.

  Args:
    flops: of one run on one device.
    seconds: that it took.
    device_kind: jax's name of the device.
    dtype: of the products' operands.

  Raises:
    ValueError: seconds that are not positive, or an unknown dtype.
  """
  if not seconds > 0:
    raise ValueError(f"seconds={seconds} must be positive.")
  peak = peak_flops(device_kind, dtype)
  return None if peak is None else flops / (seconds * peak)


def compiled_cost(
  compiled: jax.stages.Compiled, unknown_trips: hlo.Number = 1
) -> Cost:
  """What one run of a compiled function costs one device.

  Args:
    compiled: of jax.jit(...).lower(...).compile().
    unknown_trips: see hlo/cost.py.
  """
  return program_cost(hlo.parse(compiled.as_text()), unknown_trips)


def cost_or_why(
  compiled: jax.stages.Compiled, unknown_trips: hlo.Number = 1
) -> tuple[Cost | None, str]:
  """As compiled_cost; or None, and why the program was not understood.

  A compiler that writes its programs in another way costs a figure, and no run.

  Args:
    compiled: as there.
    unknown_trips: as there.
  """
  try:
    return compiled_cost(compiled, unknown_trips), ""
  except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
    return None, f"the compiled program was not understood: {error!r}"
