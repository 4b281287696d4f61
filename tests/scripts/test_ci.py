# SPDX-License-Identifier: Apache-2.0
""".ci/run runs every test, and lets none skip for want of data."""

import os
import pathlib
import shutil
import subprocess

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_ci_runs_the_full_suite_and_says_that_it_is_ci(tmp_path):
  (tmp_path / ".ci").mkdir()
  (tmp_path / "scripts").mkdir()
  shutil.copy(_ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
  (tmp_path / "scripts" / "test.sh").write_text('echo "CI=$CI $*"\n')
  environment = {k: v for k, v in os.environ.items() if k != "CI"}
  done = subprocess.run(
    ["bash", str(tmp_path / ".ci" / "run")],
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.stdout == "CI=1 --full\n", done.stderr
