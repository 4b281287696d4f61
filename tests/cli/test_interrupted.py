# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C ends a command with 130 and one line, wherever it arrives."""

import subprocess
import sys

import pytest

from genrec_jax.cli import run

_START = """
import gc, os, signal, sys, threading, time
from genrec_jax.cli import ending

def tell(number=signal.SIGINT):
  os.kill(os.getpid(), number)
  time.sleep(0.01)

def wait():
  time.sleep(60)

ending.insist_on_signals()
"""
_PLACES = {
  "at work": "tell()",
  "in a callback": """
told = []
def callback(phase, info):
  if not told:
    told.append(phase)
    tell()
gc.callbacks.append(callback)
gc.collect()
wait()
""",
  "beside threads": "threading.Thread(target=wait).start(); tell()",
  "while importing": """
with ending.interrupted_at_once():
  try:
    tell()
  except BaseException:
    os.abort()
""",
  "after importing": """
with ending.interrupted_at_once():
  pass
try:
  tell()
finally:
  print("tidied", file=sys.stderr)
""",
}


def _end(body, tmp_path):
  lines = ["def command():", *body.strip().splitlines()]
  lines[1:] = [f"  {line}" for line in lines[1:]]
  lines.append("ending.leave(lambda: ending.ended(command))")
  script = tmp_path / "script.py"
  script.write_text(_START + "\n".join(lines))
  return subprocess.run(
    [sys.executable, str(script)], capture_output=True, text=True, timeout=50
  )


@pytest.mark.parametrize("place", _PLACES)
def test_it_ends_with_a_line(place, tmp_path):
  done = _end(_PLACES[place], tmp_path)
  tidied = "tidied\n" if place == "after importing" else ""
  assert (done.returncode, done.stderr) == (130, f"{tidied}interrupted\n")


def test_an_exit_without_an_error_waits_for_no_thread(tmp_path):
  body = "threading.Thread(target=wait).start(); sys.exit(0)"
  assert _end(body, tmp_path).returncode == 0
  done = _end("sys.exit('error: no')", tmp_path)
  assert (done.returncode, done.stderr) == (1, "error: no\n")


@pytest.mark.parametrize(("name", "status"), [("INT", 130), ("SEGV", 139)])
def test_a_stage_that_a_signal_ends_has_the_status_of_shells(name, status):
  code = (
    "import os, signal\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    f"os.kill(os.getpid(), signal.SIG{name})\n"
  )
  assert run.status_of([sys.executable, "-c", code]) == status
