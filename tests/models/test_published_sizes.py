# SPDX-License-Identifier: Apache-2.0
"""Configs at published sizes, by shapes alone: parameters, all and active."""

import math

import jax
import pytest

from configs import onerec_v2_industrial
from genrec_jax.core import sharding
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config

_D, _LAYERS, _FIRST, _EXPERTS = 1408, 14, 2, 53
# Of a layer in squares of the width: cross- and self-attention.
_ATTENTION, _DENSE, _EXPERT = 2 + 4, 8, 3


def _expected(moe: bool) -> tuple[int, int]:
  """Matrices of all layers, and those that a code takes."""
  square = _D**2
  if not moe:
    both = _LAYERS * (_ATTENTION + _DENSE) * square
    return both, both
  first = _FIRST * (_ATTENTION + _DENSE) * square
  others = _LAYERS - _FIRST
  whole = others * (_ATTENTION + (_EXPERTS + 1) * _EXPERT) * square
  active = others * (_ATTENTION + (3 + 1) * _EXPERT) * square
  router = others * _EXPERTS * (_D + 1)
  return first + whole + router, first + active + router


@pytest.mark.parametrize("moe", [False, True])
def test_parameters_are_those_of_their_arithmetic(moe):
  config = check_config(onerec_v2_industrial.get_config("moe" if moe else ""))
  program = Program.from_config(config, 1_000, sharding.local())
  shapes = jax.tree.leaves(program.abstract_state().params)
  count = sum(math.prod(x.shape) for x in shapes)
  tables = 2 * 3 * 8192 * _D + _D
  norms = (3 * _LAYERS + 3) * _D
  context = 3 * _D * 128 + 128
  whole, active = _expected(moe)
  rest = tables + norms + context
  assert count == whole + rest
  # What they are called by: half a billion, of four billion where there are
  # experts.
  assert 0.45e9 < active + rest < 0.57e9
  assert (count > 4e9) == moe
