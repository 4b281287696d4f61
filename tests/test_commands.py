# SPDX-License-Identifier: Apache-2.0
"""A script that is started by a fork behaves as one that Python starts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import commands

_SCRIPT = """
import atexit, os, sys, threading
print(__name__, sys.argv, os.getcwd(), os.environ.get("OF_THE_TEST"))
print(os.path.basename(sys.path[0]), sys.modules["__main__"].__name__)
atexit.register(print, "at exit")


def write_last():
  threading.main_thread().join()
  print("thread", file=sys.stderr)


threading.Thread(target=write_last).start()
END
"""


@pytest.mark.parametrize(
  "end",
  [
    "",
    "sys.exit(3)",
    "sys.exit('error: a message')",
    "sys.exit(None)",
    "1 / 0",
    "os.abort()",
    "os.kill(os.getpid(), 15)",
  ],
)
def test_it_does_and_ends_as_python_lets_it(end, tmp_path):
  path = tmp_path / "script.py"
  path.write_text(_SCRIPT.replace("END", end))
  folder = tmp_path / "folder"
  folder.mkdir()
  options = {"cwd": folder, "env": os.environ | {"OF_THE_TEST": "é"}}
  arguments = [str(path), "--flag=a b", ""]
  ours = commands.run(arguments, **options)
  real = subprocess.run(
    [sys.executable, *arguments], capture_output=True, text=True, **options
  )
  assert ours.returncode == real.returncode
  if real.returncode >= 0:
    assert ours.stdout == real.stdout
    # A traceback's frames are those of whoever started the script.
    last = [done.stderr.splitlines()[-2:] for done in (ours, real)]
    assert last[0] == last[1]
    assert last[0][-1] == "thread"


def test_options_of_jax_come_from_the_commands_environment(tmp_path):
  path = tmp_path / "script.py"
  path.write_text(
    "import jax; print(jax.device_count(), jax.devices()[0].platform)"
  )
  environment = os.environ | {"JAX_NUM_CPU_DEVICES": "3"}
  done = commands.run([path], env=environment)
  assert done.stdout == "3 cpu\n", done.stderr
  assert commands.run([path]).stdout == "1 cpu\n"


def test_a_command_is_signalled_and_waited_for(tmp_path):
  path, output = tmp_path / "script.py", tmp_path / "output"
  path.write_text("import time; print(1, flush=True); time.sleep(60)")
  with output.open("w") as file:
    command = commands.Command([path], stdout=file, stderr=subprocess.STDOUT)
    while output.read_text() != "1\n":
      assert command.poll() is None
      time.sleep(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
      command.wait(timeout=0.01)
    command.kill()
    assert command.wait(timeout=60) == command.poll() == -signal.SIGKILL


def test_scripts_that_start_scripts_are_seen_through(tmp_path):
  """Output in its order, and the exit status, of the inner script too."""
  (tmp_path / "outer.py").write_text(
    "import subprocess, sys\n"
    "print('before')\n"
    "done = subprocess.run([sys.executable, sys.argv[1]])\n"
    "print('after', done.returncode)\n"
  )
  inner = commands.ROOT / "scripts" / "train.py"
  done = commands.run([tmp_path / "outer.py", inner])
  before, *_, after = done.stdout.splitlines()
  assert (before, after) == ("before", "after 2")
  assert "--config" in done.stdout + done.stderr
