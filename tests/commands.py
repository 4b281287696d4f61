# SPDX-License-Identifier: Apache-2.0
"""Starts scripts/*.py as a user does, in processes of their own, quickly.

    done = commands.run(["scripts/train.py", "--config=...", "--workdir=..."])

Most of what a small command takes is the import of its libraries. The processes
here are forks of one that has imported them and touched no device
(tests/command_server.py): arguments, environment, folder, output, signals and
exit status are the command's own. Anything that must start from nothing, such
as Python itself, is a matter for `subprocess`.
"""

import atexit
from collections.abc import Sequence
import functools
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
_SCRIPTS = ROOT / "scripts"


@functools.cache
def _server() -> str:
  """The socket of this process's server, which ends with this process."""
  folder = tempfile.TemporaryDirectory(prefix="genrec-commands-")
  path = str(pathlib.Path(folder.name) / "socket")
  server = subprocess.Popen(
    [sys.executable, str(ROOT / "tests" / "command_server.py"), path],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    env=os.environ | {"PYTHONPATH": str(ROOT)},
  )

  def end():
    server.stdin.close()
    server.wait()
    server.stdout.close()
    folder.cleanup()

  atexit.register(end)
  if server.stdout.readline() != b"ready\n":
    raise RuntimeError("tests/command_server.py did not start: see above")
  return path


class Command:
  """A script that runs.

  Attributes:
    args: the script and its arguments.
    pid: of its process.
    returncode: None while it runs; -N where signal N ended it.
  """

  def __init__(
    self,
    args: Sequence[str],
    *,
    stdout: IO[Any] | None = None,
    stderr: IO[Any] | int | None = None,
    env: dict[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    path: str | None = None,
  ):
    """Starts it.

    Args:
      args: the script and its arguments.
      stdout: an open file; None = a temporary one that `communicate` reads.
      stderr: an open file, None = likewise, or subprocess.STDOUT.
      env: whole environment; None = this process's.
      cwd: its folder; None = this process's.
      path: socket of the server; None = this process's own server.
    """
    self.args = [str(word) for word in args]
    self.returncode = None
    self._own = []
    self._stdout = stdout or self._temporary()
    if stderr == subprocess.STDOUT:
      self._stderr = self._stdout
    else:
      self._stderr = stderr or self._temporary()
    request = {
      "argv": self.args,
      "env": dict(os.environ if env is None else env),
      "cwd": str(cwd or os.getcwd()),
    }
    self._connection = socket.socket(socket.AF_UNIX)
    self._connection.connect(path or _server())
    streams = [self._stdout.fileno(), self._stderr.fileno()]
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(self._connection, [data], streams)
    self._connection.sendall(data[sent:])
    self._answers = self._connection.makefile("r")
    self.pid = int(self._answers.readline())
    self._watch = threading.Thread(target=self._wait, daemon=True)
    self._watch.start()

  def _temporary(self) -> IO[bytes]:
    self._own.append(tempfile.TemporaryFile())
    return self._own[-1]

  def _wait(self) -> None:
    status = self._answers.readline()
    self._answers.close()
    self._connection.close()
    self.returncode = int(status) if status else 255

  def poll(self) -> int | None:
    """The exit status; None while it runs."""
    return self.returncode

  def wait(self, timeout: float | None = None) -> int:
    """Waits for its end and returns the exit status.

    Raises:
      subprocess.TimeoutExpired: it still runs after so many seconds.
    """
    self._watch.join(timeout)
    if self.returncode is None:
      raise subprocess.TimeoutExpired(self.args, timeout)
    return self.returncode

  def send_signal(self, number: int) -> None:
    """Sends a signal, where it still runs."""
    if self.returncode is None:
      os.kill(self.pid, number)

  def kill(self) -> None:
    """Sends SIGKILL."""
    self.send_signal(signal.SIGKILL)

  def communicate(self, timeout: float | None = None) -> tuple[str, str]:
    """Waits and returns what it wrote to files that are not the caller's."""
    self.wait(timeout)
    texts = []
    for stream in (self._stdout, self._stderr):
      if stream in self._own and not stream.closed:
        stream.seek(0)
        texts.append(stream.read().decode())
      else:
        texts.append("")
    for stream in self._own:
      stream.close()
    return texts[0], texts[1]


def run(
  args: Sequence[str | os.PathLike[str]],
  *,
  timeout: float = 600,
  **options: Any,
) -> subprocess.CompletedProcess:
  """Runs a script to its end, as subprocess.run does with its output kept.

  Args:
    args: the script and its arguments.
    timeout: seconds after which it is killed.
    **options: of Command.

  Raises:
    subprocess.TimeoutExpired: it took longer.
  """
  command = Command(args, **options)
  try:
    stdout, stderr = command.communicate(timeout)
  except subprocess.TimeoutExpired:
    command.kill()
    raise
  return subprocess.CompletedProcess(
    command.args, command.returncode, stdout, stderr
  )


def interpreter(folder: pathlib.Path) -> pathlib.Path:
  """A program for `PROGRAM scripts/NAME.py ...` in a shell: like Python's own,
  but that the script is run by the server of this process."""
  program = folder / "python"
  words = [sys.executable, str(pathlib.Path(__file__).resolve()), _server()]
  line = " ".join(map(shlex.quote, words))
  program.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
  program.chmod(0o755)
  return program


def reach_through(path: str) -> None:
  """From here on subprocess hands scripts/*.py to the server at `path`."""
  run, start = subprocess.run, subprocess.Popen

  def start_by_server(command, *args, **options):
    if args or options or not _is_script(command):
      return start(command, *args, **options)
    # Its output goes where ours goes.
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(os.dup(1), "wb") as out, os.fdopen(os.dup(2), "wb") as err:
      words = [w for w in command[1:] if w != "-P"]
      return Command(words, stdout=out, stderr=err, path=path)

  def run_by_server(command, *args, **options):
    if args or options or not _is_script(command):
      return run(command, *args, **options)
    code = start_by_server(command).wait()
    return subprocess.CompletedProcess(command, code)

  subprocess.run, subprocess.Popen = run_by_server, start_by_server


def _is_script(command: Any) -> bool:
  return (
    isinstance(command, list)
    and command[0] == sys.executable
    and (
      command[1:4] == ["-P", "-m", "genrec_jax.cli"]
      or pathlib.Path(command[1]).resolve().parent == _SCRIPTS
    )
  )


if __name__ == "__main__":
  _path, *_words = sys.argv[1:]
  with os.fdopen(1, "wb") as _out, os.fdopen(2, "wb") as _err:
    sys.exit(Command(_words, stdout=_out, stderr=_err, path=_path).wait())
