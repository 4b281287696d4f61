# SPDX-License-Identifier: Apache-2.0
"""scripts/run.py: flags reach the stages however they are written."""

import json
import os
import pathlib
import signal
import sys
import threading
import time

import pytest

from genrec_jax.cli import run
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


@pytest.mark.parametrize("ends", [7, 0])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_saves_is_waited_for(number, ends, tmp_path):
  # Ctrl-C reaches both; here the stage ends by itself some time after it.
  ready, saved = tmp_path / "ready", tmp_path / "saved"
  code = (
    "import pathlib, signal, sys, time\n"
    "def save(*_):\n"
    "  time.sleep(.6)\n"
    f"  pathlib.Path({str(saved)!r}).touch()\n"
    f"  sys.exit({ends})\n"
    "signal.signal(signal.SIGTERM, save)\n"
    f"pathlib.Path({str(ready)!r}).touch()\n"
    f"time.sleep({60 if number == signal.SIGTERM else 0.5})\n"
    "save()\n"
  )

  def tell():
    while not ready.exists():
      time.sleep(0.01)
    os.kill(os.getpid(), number)

  handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
  teller = threading.Thread(target=tell)
  teller.start()
  # Nothing may follow it, however well it ended.
  status = ends or 128 + number
  assert run.status_of([sys.executable, "-c", code]) == status
  teller.join()
  assert saved.exists()
  assert handlers == [
    signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)
  ]
