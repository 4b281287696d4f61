# SPDX-License-Identifier: Apache-2.0
"""The README's first command, from another folder and into one with a space.

It uses the environment that scripts/test.sh made: the installation itself is
tested by the command that runs these tests.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

pytestmark = [
  pytest.mark.optimized,
  pytest.mark.slow,
  pytest.mark.skipif(
    pathlib.Path(sys.prefix).resolve() != (ROOT / ".venv").resolve(),
    reason="runs in the environment that scripts/test.sh makes, .venv",
  ),
]


def _quickstart(workdir: pathlib.Path, form: str):
  return subprocess.run(
    ["bash", ROOT / "scripts" / "quickstart.sh", workdir.name],
    cwd=workdir.parent,
    env={**os.environ, "GENREC_QUICKSTART_FORM": form, "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=False,
  )


def test_quickstart_beats_item_knn_and_goes_on_where_it_stopped(tmp_path):
  workdir = tmp_path / "my run"
  result = _quickstart(workdir, "quickstart")
  assert result.returncode == 0, result.stdout + result.stderr
  assert "times that of item-kNN" in result.stdout
  assert "Recommended next (10 items)" in result.stdout
  page = (workdir / "report.html").read_text()
  assert "<svg" in page and "Recommended next" in page
  checkpoints = sorted((workdir / "checkpoints").iterdir())
  again = _quickstart(workdir, "quickstart")
  assert again.returncode == 0, again.stdout + again.stderr
  assert sorted((workdir / "checkpoints").iterdir()) == checkpoints
  assert "done before" in again.stdout


def test_losing_to_a_baseline_is_loud(tmp_path):
  result = _quickstart(tmp_path / "lost", "quicktest")
  assert result.returncode == 1
  assert "is not above item-kNN" in result.stdout
  assert "HSTU lost to a baseline" in result.stderr
