# SPDX-License-Identifier: Apache-2.0
"""A program's train step, and what measures how much of the device it uses.

    step, meter = metered_step(program, dtype)

The step is compiled ahead, so that its FLOPs can be read. Where no peak is
known of the device, as of a CPU, nothing is compiled ahead and nothing is
claimed: the step is the program's own, and there is no meter.
"""

from collections.abc import Callable
from typing import Any

from genrec_jax.experiment.program import Program
from genrec_jax.hlo.mfu import cost_or_why, peak_flops
from genrec_jax.train.step_meter import StepMeter


def metered_step(
  program: Program, dtype: str
) -> tuple[Callable[..., Any], StepMeter | None]:
  """The step, and its meter; call it inside program.in_force().

  Says why where there is no meter on a device whose peak is known, and what is
  not counted where there is one.

  Args:
    program: without a rollout, whose steps are several programs.
    dtype: of the matrix products.
  """
  device = program.placement.mesh.devices.flat[0]
  peak = peak_flops(device.device_kind, dtype)
  if peak is None:
    return program.train_step, None
  arguments = program.abstract_train_arguments()
  compiled = program.train_step.lower(*arguments).compile()
  cost, why = cost_or_why(compiled)
  if cost is None or not cost.flops:
    print(f"no MFU is logged: {why or 'the step has no matrix products'}")
    return compiled, None
  uncounted = len(cost.unknown_loops) + len(cost.unpriced_kernels)
  if uncounted:
    print(
      f"train/mfu is too low: {len(cost.unknown_loops)} loops of unknown length"
      f" count once, {len(cost.unpriced_kernels)} kernels not at all"
    )
  return compiled, StepMeter(float(cost.flops), peak)
