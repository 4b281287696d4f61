# SPDX-License-Identifier: Apache-2.0
"""SIGTERM: leave at once while nothing is worth saving, else save first."""

from collections.abc import Iterator
import contextlib
import signal
import sys


class Termination:
  """Whether this process was asked to end.

  From `install` on, SIGTERM exits 0 at once; inside `deferred` it is only
  noted, and the caller asks `arrived` when it can save. Python swallows an
  exit that is raised while a callback of the garbage collector runs, so a
  signal is noted in both cases: the next `arrived` still tells.

  Attributes:
    arrived: a SIGTERM came.
  """

  def __init__(self):
    self.arrived = False
    self._deferred = False

  def install(self) -> "Termination":
    """Becomes the process's handler of SIGTERM."""
    signal.signal(signal.SIGTERM, self._note)
    return self

  def _note(self, number, frame) -> None:
    self.arrived = True
    if not self._deferred:
      sys.exit(0)

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """While it lasts a SIGTERM is noted and nothing else happens."""
    self._deferred = True
    try:
      yield
    finally:
      self._deferred = False
