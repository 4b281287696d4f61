# SPDX-License-Identifier: Apache-2.0
"""One training at a time in a workdir: two would delete each other's saves.

    with WorkdirLock("runs/a") as lock:     WORKDIR/training.lock
      ...
      lock.check()                          before anything is saved

The file names host and process, and is touched while that lives. A lock whose
process is gone from this machine, or that nobody has touched for a minute, is
taken over, and said to be. Reading a workdir needs no lock.
"""

import contextlib
import json
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
from typing import Any
import uuid

from genrec_jax.core import atomic

NAME = "training.lock"
STALE_SECONDS = 60.0
_BEAT_SECONDS = 10.0


class WorkdirLock:
  """See the module docstring."""

  def __init__(
    self,
    workdir: str | os.PathLike,
    *,
    stale_seconds: float = STALE_SECONDS,
    beat_seconds: float = _BEAT_SECONDS,
  ):
    """Takes nothing yet.

    Args:
      workdir: made where it is missing, with the folders above it, and removed
        again where they stay empty.
      stale_seconds: without a touch after which a lock counts as left behind.
      beat_seconds: between two touches.
    """
    self._workdir = pathlib.Path(workdir)
    self._path = self._workdir / NAME
    self._stale, self._beat = stale_seconds, beat_seconds
    self._mine = {
      "host": socket.gethostname(),
      "pid": os.getpid(),
      "processes": _pid_namespace(),
      "token": uuid.uuid4().hex,
    }
    self._made: list[pathlib.Path] = []
    self._ended = threading.Event()
    self._thread = threading.Thread(
      target=self._touch, daemon=True, name="workdir-lock"
    )

  def __enter__(self) -> "WorkdirLock":
    """Takes the lock.

    Raises:
      ValueError: somebody trains here (names who).
    """
    place = (self._workdir, *self._workdir.parents)
    self._made = [folder for folder in place if not folder.exists()]
    self._workdir.mkdir(parents=True, exist_ok=True)
    while not (self._create() or self._take_over()):
      pass
    self._thread.start()
    return self

  def __exit__(self, *unused) -> None:
    self._ended.set()
    self._thread.join()
    if _read(self._path) == self._mine:
      self._path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # The first that is not empty.
      for folder in self._made:
        folder.rmdir()

  def check(self) -> None:
    """Raises a ValueError where the lock is no longer this process's own."""
    holder = _read(self._path)
    if holder == self._mine:
      return
    who = f"now {_who(holder)} trains here" if holder else "it was removed"
    raise ValueError(
      f"{self._path} was this training's and is not any more: {who}. Nothing"
      " is saved; start again in another --workdir, or resume when it is done."
    )

  def _create(self) -> bool:
    """Whether the file was not there, and is this process's now."""
    try:
      handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
      return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
      json.dump(self._mine, file)
    return True

  def _take_over(self) -> bool:
    """Whether the lock's holder was gone, and it is this process's now.

    Raises:
      ValueError: the holder lives.
    """
    try:
      age = self._seconds_since_touched(self._path)
    except FileNotFoundError:
      return False
    holder = _read(self._path)
    if age < self._stale and not self._ended_here(holder):
      raise ValueError(
        f"{self._workdir} is being trained by {_who(holder)}, seen"
        f" {age:.0f} s ago: wait for it, or use another --workdir. If it is"
        f" gone, try again in {self._stale - age:.0f} s."
      )
    # Of several that find it, one may follow.
    claim = self._path.with_name(f".{NAME}.{holder.get('token', 'unnamed')}")
    try:
      os.close(os.open(claim, os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
      self._give_way(claim)
      return False
    try:
      if _read(self._path) != holder:
        return False
      atomic.write_text(self._path, json.dumps(self._mine))
    finally:
      claim.unlink(missing_ok=True)
    print(
      f"{self._path} was left behind by {_who(holder)}, last seen"
      f" {age:.0f} s ago: taken over.",
      file=sys.stderr,
    )
    return True

  def _give_way(self, claim: pathlib.Path) -> None:
    """Waits for who takes a lock over, unless that is gone too."""
    with contextlib.suppress(FileNotFoundError):
      if self._seconds_since_touched(claim) > self._stale:
        claim.unlink()
    time.sleep(0.01)

  def _seconds_since_touched(self, path: pathlib.Path) -> float:
    """By the clock of the file system, which hosts may share."""
    with tempfile.NamedTemporaryFile(dir=self._workdir) as file:
      now = os.stat(file.name).st_mtime
    return max(0.0, now - path.stat().st_mtime)

  def _ended_here(self, holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is gone."""
    same = ("host", "processes")
    if any(holder.get(name) != self._mine[name] for name in same):
      return False
    return not _lives(holder["pid"])

  def _touch(self) -> None:
    while not self._ended.wait(self._beat):
      # A file system may fail for a moment: the next touch makes up for it.
      with contextlib.suppress(OSError):
        if _read(self._path) == self._mine:
          os.utime(self._path)


def _read(path: pathlib.Path) -> dict[str, Any]:
  """What a lock says; nothing where there is none, or it is being written."""
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def _who(holder: dict[str, Any]) -> str:
  if not holder:
    return "a process that has not said its name"
  return f"process {holder.get('pid')} on {holder.get('host')}"


def _pid_namespace() -> str:
  """Names the processes that this one can see; '' where nothing does."""
  try:
    return os.readlink("/proc/self/ns/pid")
  except OSError:
    return ""


def _lives(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  # One that was killed and whose parent has not asked for its status.
  try:
    return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return True
