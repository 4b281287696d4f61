# SPDX-License-Identifier: Apache-2.0
"""scripts/run.py: flags reach the stages however they are written."""

import json
import pathlib

import pytest

from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(workdir, *arguments, code=0, variants="quicktest"):
  config = f"{_ROOT / 'configs' / 'tiger_amazon.py'}:{variants}"
  done = commands.run(
    [
      _ROOT / "scripts" / "run.py",
      f"--config={config}",
      f"--workdir={workdir}",
      *arguments,
    ]
  )
  assert done.returncode == code, done.stdout + done.stderr
  return done


def test_flags_reach_the_stages(tmp_path):
  workdir = tmp_path / "a run"
  done = _run(
    workdir,
    "--config.data.num_users",
    "50",
    "--noconfig.filter.deduplicate",
    "--stop_after=data",
    "--config.filter.keep_unseen_items",
  )
  assert "== data" in done.stdout and "== vectors" not in done.stdout
  manifest = json.loads((workdir / "data" / "manifest.json").read_text())
  assert manifest["num_users"] == 50
  options = manifest["options"]["filter"]
  assert options["deduplicate"] is False
  assert options["keep_unseen_items"] is True


def test_a_stage_that_fails_ends_the_run(tmp_path):
  done = _run(tmp_path / "run", "--config.data.num_users=0", code=1)
  assert "error:" in done.stderr and "== vectors" not in done.stdout


@pytest.mark.slow
def test_what_is_trained_before_reads_the_same_data(tmp_path):
  """Its own config file knows nothing of this config's data."""
  workdir = tmp_path / "run"
  done = _run(
    workdir,
    "--config.filter.hold_out_items=0.1",
    "--stop_after=before",
    variants="rqvae-quicktest",
  )
  assert "== before" in done.stdout
  there = json.loads((workdir / "rqvae" / "config.json").read_text())
  assert there["prepared"] == str(workdir / "data")
  assert there["filter"]["hold_out_items"] == 0.1
