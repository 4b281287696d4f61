# SPDX-License-Identifier: Apache-2.0
"""What needs no training of claims about the rankers of industry.

Published figures that must agree with each other, parameters by shapes, FLOPs
by formula; studies/industry_claims.py says what is claimed.
"""

from collections.abc import Mapping
import importlib
import math

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.data.simulator.growing_catalog import GrowingCatalog
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.ops.merged_history_flops import (
  merged_layer_flops,
  merging_saves,
)
from studies.verdicts import Result

# arXiv 2507.15551, section 4: before and after.
_PARAMETERS, _GFLOPS = (15.8e6, 1.1e9), (107.0, 2106.0)
_MFU, _LATENCY_MS, _HALF_PRECISION = (4.47, 44.57), (14.5, 14.3), 2.0
# arXiv 2505.04421, section 3.3.
_EVENTS, _WIDTH, _GROUP, _SAVED = 2048, 32, 4, 0.428
# Name of a model -> config and variants.
COUNTED = {
  "a sequence of item ids (HSTU)": ("hstu_ranking_kuairand", ""),
  "users of an item (UCR)": ("ucr_kuairand", ""),
  "codes of items (TIGER)": ("tiger_amazon", "decoder_only"),
}


def latency() -> Result:
  """129: whether 70 times the parameters at one latency adds up."""
  work = _GFLOPS[1] / _GFLOPS[0]
  speed = _HALF_PRECISION * _MFU[1] / _MFU[0]
  expected, printed = work / speed, _LATENCY_MS[1] / _LATENCY_MS[0]
  return {
    "verdict": "the figures agree with each other"
    if abs(expected / printed - 1) < 0.05
    else "fails",
    "rests_on": "arithmetic: nobody's latency is measured",
    "parameters": round(_PARAMETERS[1] / _PARAMETERS[0], 1),
    "flops": round(work, 1),
    "speed_by_mfu_and_precision": round(speed, 1),
    "latency_expected": round(expected, 3),
    "latency_printed": round(printed, 3),
  }


def merged_flops() -> Result:
  """136: FLOPs of a layer over groups of four, and where joining saves."""
  whole = merged_layer_flops(_EVENTS, _WIDTH, 1)
  ratio = merged_layer_flops(_EVENTS, _WIDTH, _GROUP) / whole
  least = 6 * _WIDTH * _GROUP
  saves = [merging_saves(n, _WIDTH, _GROUP) for n in (least, least + _GROUP)]
  exact = abs(1 - ratio - _SAVED) < 0.001 and saves == [False, True]
  return {
    "verdict": "exact" if exact else "fails",
    "rests_on": "the formula, which tests hold to the compiled count",
    "saved": round(1 - ratio, 3),
    "saves_beyond_events": least,
  }


def growth(days: int = 60) -> Result:
  """51: rows of a table of items, and of users, that a stream has met.

  The published 21 is a ratio of one platform's rates; here it is whatever the
  simulator's births were set to.
  """
  stream = GrowingCatalog(days=days).draw()
  half = len(stream) // 2
  items, users = (
    [len(np.unique(tokens[:end])) for end in (half, len(stream))]
    for tokens in (stream.item_E, stream.user_E)
  )
  grows = abs(items[1] / items[0] / 2 - 1) < 0.1 and users[1] < 1.1 * users[0]
  return {
    "verdict": "direction holds; the number is one platform's"
    if grows
    else "fails",
    "rests_on": "arithmetic of a simulated stream",
    "items_at_half_and_end": items,
    "users_at_half_and_end": users,
    "items_per_user_at_the_end": round(items[1] / users[1], 2),
  }


def counted_parameters(num_items: int = 1_000) -> dict[str, tuple[int, int]]:
  """Parameters at so many items, and at twice as many, by model."""

  def count(name, variants, items):
    module = importlib.import_module(f"configs.{name}")
    config = check_config(module.get_config(variants))
    program = Program.from_config(config, items, sharding.local())
    shapes = program.abstract_state().params
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))

  return {
    model: (count(*form, num_items), count(*form, 2 * num_items))
    for model, form in COUNTED.items()
  }


def parameters_by_items(counted: Mapping[str, tuple[int, int]]) -> Result:
  """103: whether parameters do not depend on the number of items.

  Args:
    counted: of counted_parameters.
  """
  growing = [model for model, (one, two) in counted.items() if two > one]
  said = f"not of {', '.join(growing)}" if growing else "holds"
  if len(growing) == len(counted):
    said = "fails"
  return {
    "verdict": said,
    "rests_on": "shapes of the parameters",
    "at_items_and_at_twice_as_many": {k: list(v) for k, v in counted.items()},
  }
