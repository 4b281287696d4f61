# SPDX-License-Identifier: Apache-2.0
"""Trainings that are killed and workdirs that are damaged, five of each."""

import pathlib

import pytest

from tests import commands

_STUDY = pathlib.Path(__file__).resolve().parents[2] / "studies" / "recovery.py"


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_damaged_is_taken_for_whole(tmp_path):
  flags = (f"--folder={tmp_path / 'x'}", "--kills=5", "--flips=5")
  done = commands.run([_STUDY, *flags])
  assert done.returncode == 0, done.stdout + done.stderr
  assert "FAULT" not in done.stdout
  *_, last = done.stdout.splitlines()
  assert (
    sum(
      int(line.split()[0])
      for line in done.stdout.splitlines()
      if line[:5].strip().isdigit()
    )
    == 10
  ), last
