# SPDX-License-Identifier: Apache-2.0
"""FLOPs of crossing features are those of their matrices, and give the rate."""

import pytest

from genrec_jax.bench import utilisation

_ROWS, _WIDTH, _TOWERS = 4, 16, 3
# 32 vectors of width 16; their dots of pairs below.
_ENTRIES, _PAIRS = 32 * 16, 32 * 31 // 2


def _flops(name):
  """Of a row, forward, by its shapes."""
  if name == utilisation.FEW:
    project = _ENTRIES * _WIDTH
    return 2 * (project + 2 * 16 * 2 * _WIDTH * 4 * _WIDTH)
  tower = (_ENTRIES + _PAIRS) * 64 + 64 * 32 + 32
  return 2 * (_TOWERS * tower + 32 * _ENTRIES)


@pytest.fixture(scope="module")
def result():
  return utilisation.time_utilisation(
    rows=(_ROWS,), width=_WIDTH, dtype="float32", repeats=1, towers=_TOWERS
  )


@pytest.mark.parametrize("name", [utilisation.FEW, utilisation.MANY])
def test_flops_are_those_of_the_matrices(name, result):
  passes = result["models"][name]["passes"]
  forward, train = passes[f"forward {_ROWS}"], passes[f"train {_ROWS}"]
  assert forward["flops"] == pytest.approx(_ROWS * _flops(name), rel=0.02)
  # Twice as much again, but for gradients of x and what is made of it alone.
  assert 1.8 < train["flops"] / forward["flops"] < 3.1
  for row in (forward, train):
    assert row["flops_per_second"] == pytest.approx(
      row["flops"] / row["seconds"], rel=1e-3
    )
    assert row["mfu"] is None and "no peak is listed" in row["mfu_note"]


def test_ratios_are_of_the_rates_and_the_table_has_both(result):
  few, many = (
    result["models"][name]["passes"][f"train {_ROWS}"]["flops_per_second"]
    for name in (utilisation.FEW, utilisation.MANY)
  )
  ratios = result["rate_of_mixed_tokens_over_small_towers"]
  assert ratios[f"train {_ROWS}"] == pytest.approx(few / many, abs=0.01)
  text = utilisation.table(result)
  assert text.count(f"| {utilisation.FEW} |") == 2
  assert text.count(f"| {utilisation.MANY} |") == 2


def test_a_rate_that_is_not_known_has_no_ratio():
  known, none = {"flops_per_second": 2.0}, {"flops_per_second": None}
  assert utilisation._ratio(known, none) is None
  assert utilisation._ratio(known, {"flops_per_second": 4.0}) == 0.5
