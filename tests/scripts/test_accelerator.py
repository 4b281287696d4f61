# SPDX-License-Identifier: Apache-2.0
"""scripts/accelerator.py --quicktest measures all of it in small form."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests import quick_xla

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _accelerator(*words):
  return subprocess.run(
    [sys.executable, str(_ROOT / "scripts" / "accelerator.py"), *words],
    capture_output=True,
    text=True,
    timeout=600,
    env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": quick_xla.FLAGS},
  )


def _rows(output):
  lines = (output / "results.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_all_parts_on_a_cpu(tmp_path):
  done = _accelerator(
    "--quicktest", "--minutes=60", f"--output={tmp_path / 'out'}"
  )
  assert done.returncode == 0, done.stdout + done.stderr
  rows = _rows(tmp_path / "out")
  cases = {}
  for row in rows:
    cases.setdefault(row["part"], {})[row["case"]] = row
  assert [*cases] == [
    *("attention", "train_steps", "decoding", "served_rankers", "utilisation"),
    "training",
  ]
  assert all(row["status"] == "measured" for row in rows), rows
  steps = cases["train_steps"]
  assert [*steps] == ["device", "hstu_long", "tiger_amazon", "genrank_kuairand"]
  for name in [*steps][1:]:
    row = steps[name]
    assert row["tokens_per_second"] > 0 and row["flops_per_device"] > 0
    # Nobody knows what a CPU can do.
    assert row["mfu"] is None and "no peak" in row["mfu_note"]
  decoding = cases["decoding"]
  assert [*decoding] == ["device", "tiger_amazon constrained 4"]
  last = decoding["tiger_amazon constrained 4"]
  assert last["constrained_users_per_second"] > 0
  served = cases["served_rankers"]["longer_kuairand 2"]
  assert served["kept_per_second"] > 0 and served["events"] == 8
  assert cases["utilisation"]["4 rows"]["train_ratio"] > 0
  last = rows[-1]
  assert last["finished"] and last["step"] == 3 and last["best_validation"]
  assert (tmp_path / "out" / "tiger" / "best").is_dir()
  assert (tmp_path / "out" / "table.txt").read_text() in done.stdout
