# SPDX-License-Identifier: Apache-2.0
"""The share of a device's peak that training uses, from step to step.

    mfu = steps * FLOPs of a step / (seconds * peak)

FLOPs are the compiled step's own, on one device, and the peak is its vendor's
(hlo/mfu.py). Seconds are those between the first of the steps and the last
one's metrics: waiting for data counts, validation and saving do not.
"""

import dataclasses

from genrec_jax.core.option_checks import check_positive


@dataclasses.dataclass(frozen=True)
class StepMeter:
  """See the module docstring.

  Attributes:
    flops: of a step on one device.
    peak: FLOPs per second that the device can do at most.
  """

  flops: float
  peak: float

  def __post_init__(self):
    check_positive(self, "StepMeter", "flops", "peak")

  def mfu(self, steps: int, seconds: float) -> float:
    """Of so many steps in so many seconds; 0 where no time has passed."""
    return steps * self.flops / (seconds * self.peak) if seconds > 0 else 0.0
