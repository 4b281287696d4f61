# SPDX-License-Identifier: Apache-2.0
"""Bounds on a step's time, by hand."""

import pytest

from genrec_jax.hlo.chips import CHIPS
from genrec_jax.hlo.collectives import Traffic
from genrec_jax.hlo.cost import Cost
from genrec_jax.tpu.roofline import Roofline


def test_the_slowest_part_bounds_the_step():
  chip = CHIPS["v5e"]
  cost = Cost(
    flops=197e12,
    pass_flops=2 * 197e12,
    nbytes=0.82e12 / 2,
    collectives={
      "all-reduce": Traffic(1, 1e12, 600e9),
      "all-gather": Traffic(2, 1e12, 200e9),
    },
  )
  roofline = Roofline.of(cost, chip)
  assert roofline.compute_seconds == pytest.approx(2)
  assert roofline.memory_seconds == pytest.approx(0.5)
  # 1600 Gbit/s are 200 GB/s.
  assert roofline.network_seconds == pytest.approx(4)
  assert roofline.step_seconds == pytest.approx(4)
  assert roofline.bound_by == "network"
  assert roofline.mfu == pytest.approx(1 / 4)


def test_a_program_without_work_has_no_use():
  roofline = Roofline.of(Cost(), CHIPS["v6e"])
  assert roofline.step_seconds == roofline.mfu == 0
