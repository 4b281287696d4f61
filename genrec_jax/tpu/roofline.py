# SPDX-License-Identifier: Apache-2.0
"""The least time a program can take on a chip, from what it costs.

    compute = pass FLOPs / peak    memory = bytes / bandwidth
    network = bytes sent / bandwidth of all links
    step   >= max(compute, memory, network)
    MFU    <= FLOPs / (peak * step)

A bound and no forecast: it lets the three overlap fully, runs products at the
unit's full rate and uses every link. FLOPs are those of the compiled program,
so what rematerialisation computes again counts as work.
"""

import dataclasses

from genrec_jax.hlo.chips import Chip
from genrec_jax.hlo.cost import Cost


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Seconds per part, for one device.

  Attributes:
    compute_seconds, memory_seconds, network_seconds: each alone.
    mfu: upper bound of the model FLOP utilisation, 0 to 1.
  """

  compute_seconds: float
  memory_seconds: float
  network_seconds: float
  mfu: float

  @classmethod
  def of(cls, cost: Cost, chip: Chip) -> "Roofline":
    """Bounds of a program on a chip."""
    seconds = (
      cost.pass_flops / chip.flops_per_second,
      cost.nbytes / chip.memory_bytes_per_second,
      cost.sent_nbytes / chip.network_bytes_per_second,
    )
    peak_flops = chip.flops_per_second * max(seconds)
    return cls(*seconds, mfu=cost.flops / peak_flops if peak_flops else 0.0)

  @property
  def step_seconds(self) -> float:
    """The largest of the three."""
    return max(self.compute_seconds, self.memory_seconds, self.network_seconds)

  @property
  def bound_by(self) -> str:
    """Which of the three it is: "compute", "memory" or "network"."""
    parts = ("compute", "memory", "network")
    return max(parts, key=lambda part: getattr(self, f"{part}_seconds"))
