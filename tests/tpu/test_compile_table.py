# SPDX-License-Identifier: Apache-2.0
"""The table of compiled steps, and that docs/tpu.md's is the kept result's."""

import json
import pathlib

import pytest

from configs import hstu_trillion
from genrec_jax.ops.attention_flops import (
  attention_backward_flops,
  attention_flops,
  causal_pairs,
)
from genrec_jax.tpu.compile_table import scaled, seconds, table, warnings

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_TRILLION = _ROOT / "results" / "hstu_trillion-v5p-8x8x8.json"


def test_numbers_have_prefixes():
  assert scaled(5.634e9, "B") == "5.63 GB"
  assert scaled(999, "B") == "999 B"
  assert scaled(1.5e12, "") == "1.5 T"
  assert scaled(None, "B") == "-"
  assert seconds(4.87e-3) == "4.87 ms"
  assert seconds(12.0) == "12 s"
  assert seconds(0.0) == "0 ns"


def _facts() -> dict:
  memory = {"arguments": 1, "output": 1, "temporary": 2, "peak": 3}
  large = {"arguments": None, "temporary": None, "output": None, "peak": 2e12}
  return {
    "memory_bytes_per_chip": 16e9,
    "steps": {
      "train": {
        "fits": True,
        "bytes_per_chip": memory,
        "flops_per_chip": 2e9,
        "kernel_flops_per_chip": 0,
        "memory_traffic_bytes_per_chip": 3e9,
        "collectives_per_chip": {"all-reduce": {"count": 2, "bytes": 8}},
        "unknown_loops": ["jit(step)/while"],
        "unpriced_kernels": [],
        "compute_seconds": 1e-3,
        "memory_seconds": 2e-3,
        "network_seconds": 0.0,
        "step_seconds": 2e-3,
        "bound_by": "memory",
        "bound_mfu": 0.25,
      },
      "query": {"fits": False, "bytes_per_chip": large},
    },
  }


def test_a_step_that_does_not_fit_has_its_need_and_no_cost():
  rows = dict(
    (cells[1].strip(), [c.strip() for c in cells[2:4]])
    for cells in (line.split("|") for line in table(_facts()).splitlines())
  )
  assert rows["per chip"] == ["train", "query"]
  assert rows["fits"] == ["yes", "NO"]
  assert rows["peak, of 16 GB"] == ["3 B", "2 TB"]
  assert rows["all-reduce"] == ["2 x, 8 B", "-"]
  assert rows["step, at least"] == ["2 ms (memory)", "-"]
  assert rows["MFU, at most"] == ["25.0 %", "-"]


def test_what_is_counted_too_low_is_named():
  assert warnings(_facts()).splitlines() == [
    "train: loops that data ends, counted once:",
    "  jit(step)/while",
  ]


def test_a_trillion_parameters_fit_and_the_page_says_what_was_compiled():
  facts = json.loads(_TRILLION.read_text())
  assert facts["parameters"] >= 1.5e12
  assert (facts["topology"], facts["chips"]) == ("v5p:8x8x8", 512)
  assert facts["fits"]
  page = (_ROOT / "docs" / "tpu.md").read_text(encoding="utf-8")
  assert table(facts) in page, (
    f"the table of docs/tpu.md is not that of {_TRILLION}: copy what"
    " scripts/compile_tpu.py prints"
  )


def test_what_its_kernels_state_is_the_analytic_count():
  facts = json.loads(_TRILLION.read_text())
  backbone = hstu_trillion.get_config().system.backbone
  rows = facts["batch_size"] // facts["chips"]
  sizes = (
    rows * causal_pairs(facts["row_length"]),
    backbone.num_heads,
    backbone.key_width,
    backbone.value_width,
  )
  forward, backward = attention_flops(*sizes), attention_backward_flops(*sizes)
  train = facts["steps"]["train"]
  assert train["unpriced_kernels"] == []
  # The kernels count half of the square, without half of the diagonal.
  assert train["kernel_flops_per_chip"] == pytest.approx(
    backbone.num_layers * (forward + backward), rel=1e-3
  )
