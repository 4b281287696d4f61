# SPDX-License-Identifier: Apache-2.0
"""How many programs XLA has compiled in this process, and by which thread.

    with Compilations() as made:
      ...
    made.total, made.of_thread("model")

jax tells of every program that it makes, or fetches from a folder of compiled
ones. A model that is ready makes none: the count of its thread stands still.
"""

import collections
from collections.abc import Callable
import threading
from typing import Any

import jax

_MADE = "/jax/core/compile/backend_compile_duration"
_listening: set["Compilations"] = set()
_lock = threading.Lock()


class Compilations:
  """See the module docstring."""

  def __init__(self, tell: Callable[[str], None] | None = None):
    """Args: tell: is told the name of the thread, at every program."""
    self._tell = tell
    self._count: collections.Counter[str] = collections.Counter()

  def __enter__(self) -> "Compilations":
    with _lock:
      _listening.add(self)
    return self

  def __exit__(self, *unused) -> None:
    with _lock:
      _listening.discard(self)

  @property
  def total(self) -> int:
    """Of all threads."""
    return sum(self._count.values())

  def of_thread(self, name: str) -> int:
    """Of the threads of a name."""
    return self._count[name]

  def note(self, thread: str) -> None:
    """One more."""
    self._count[thread] += 1
    if self._tell is not None:
      self._tell(thread)


def _heard(event: str, duration: float, **more: Any) -> None:
  del duration, more
  if event != _MADE:
    return
  with _lock:
    listening = list(_listening)
  for one in listening:
    one.note(threading.current_thread().name)


jax.monitoring.register_event_duration_secs_listener(_heard)
