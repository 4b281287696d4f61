# SPDX-License-Identifier: Apache-2.0
"""Training on 16,384 events at a time fits one small TPU chip."""

import importlib.util
import json
import pathlib

import pytest

from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_hstu_long_trains_within_one_v5e():
  done = commands.run(
    [
      _ROOT / "scripts" / "compile_tpu.py",
      f"--config={_ROOT / 'configs' / 'hstu_long.py'}",
      "--topology=v5e:1x1",
      "--steps=train",
    ],
    timeout=1200,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  result = json.loads(done.stdout.splitlines()[-1])
  assert (result["batch_size"], result["row_length"]) == (1, 16_384)
  train = result["steps"]["train"]
  assert train["fits"]
  # Nothing of 16,384 x 16,384 is there: that is 512 MB in bfloat16 per head.
  # At O0, which tests compile at, it is 607 MB, and 560 as users compile it.
  assert train["bytes_per_chip"]["temporary"] < 1.5e9
