# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and Ctrl-C: leave at once while nothing is worth saving, else save.

SIGTERM is how a machine is taken back: what was asked for is done, exit status
0. Ctrl-C is a person: 130, as shells have it.
"""

from collections.abc import Iterator
import contextlib
import signal
import sys

_STATUS = {signal.SIGTERM: 0, signal.SIGINT: 128 + signal.SIGINT}
_NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Termination:
  """Whether this process was asked to end.

  From `install` on, a signal raises at once, Ctrl-C a KeyboardInterrupt and
  SIGTERM a SystemExit; inside `deferred` it is only noted, and the caller asks
  `arrived` when it can save. A second Ctrl-C does not wait for that. Python
  swallows what is raised while a callback of the garbage collector runs, so a
  signal is noted in every case: the next `arrived` still tells.

  Attributes:
    arrived: a signal came.
    name: what came, for people; SIGTERM where another process was told.
    status: the exit status that belongs to it.
  """

  def __init__(self):
    self.arrived = False
    self.name, self.status = "SIGTERM", 0
    self._deferred = False

  def install(self) -> "Termination":
    """Becomes the process's handler of both signals."""
    for number in _STATUS:
      signal.signal(number, self._note)
    return self

  def _note(self, number, frame) -> None:
    again = self.arrived and number == signal.SIGINT
    self.arrived = True
    self.name, self.status = _NAMES[number], _STATUS[number]
    if again or not self._deferred:
      if number == signal.SIGINT:
        raise KeyboardInterrupt
      sys.exit(self.status)

  @contextlib.contextmanager
  def deferred(self) -> Iterator[None]:
    """While it lasts a signal is noted and nothing else happens."""
    self._deferred = True
    try:
      yield
    finally:
      self._deferred = False
