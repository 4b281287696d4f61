# SPDX-License-Identifier: Apache-2.0
"""`genrec serve` in a process of its own, on a core of its own.

    with served_process(["--workdir=...", "--port=0"], core) as (host, port):
      ...

It ends with SIGTERM when the block does. What it logs is shown where it fails.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
import re
import subprocess
import sys
import tempfile

_END_SECONDS = 40
_SHOWN_CHARACTERS = 2000


def two_cores() -> tuple[int, int] | None:
  """Cores of this process, for a server and for who asks it; None where there
  are none, or the system does not say."""
  if sys.platform != "linux":
    return None
  cores = sorted(os.sched_getaffinity(0))
  return (cores[0], cores[1]) if len(cores) > 1 else None


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
  """Keeps this thread to a core; None = where it may be."""
  if core is None:
    yield
    return
  before = os.sched_getaffinity(0)
  os.sched_setaffinity(0, {core})
  try:
    yield
  finally:
    os.sched_setaffinity(0, before)


@contextlib.contextmanager
def served_process(
  flags: Sequence[str],
  core: int | None,
  environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, int]]:
  """Its address, once it is ready.

  Args:
    flags: of genrec serve; among them --port=0.
    core: that it is to keep to; None = where it may be.
    environment: beside this process's.

  Raises:
    ValueError: it ended before it was ready.
  """
  command = [sys.executable, "-m", "genrec_jax.cli", "serve", *flags]
  with tempfile.TemporaryFile("w+") as log:
    process = subprocess.Popen(
      command,
      stdout=subprocess.PIPE,
      stderr=log,
      text=True,
      env={**os.environ, **(environment or {})},
    )
    try:
      if core is not None:
        # Before it has threads, which all keep to it then.
        os.sched_setaffinity(process.pid, {core})
      yield _address(process, log, command)
    finally:
      process.terminate()
      try:
        process.wait(_END_SECONDS)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
      process.stdout.close()


def _address(
  process: subprocess.Popen, log, command: Sequence[str]
) -> tuple[str, int]:
  """Of the socket, once a model answers."""
  found = None
  for line in process.stdout:
    listening = re.search(r"listening: http://(\S+):(\d+)", line)
    if listening:
      found = listening[1], int(listening[2])
    if line.startswith("ready:") and found:
      return found
  process.wait()
  log.seek(0)
  raise ValueError(
    f"{' '.join(command)} ended with {process.returncode}:"
    f" {log.read()[-_SHOWN_CHARACTERS:]}"
  )
