# SPDX-License-Identifier: Apache-2.0
"""The processes of one job: joining, talking, and noticing that one is gone.

Each host of a TPU slice runs the same script as one process. Arrays travel
inside jitted code; the few facts that are not arrays (the data iterator's
state, a wish to stop) travel here.

Nobody answers a collective of which a process has died: the others would wait
for minutes, or for ever. So each process writes down every second that it is
alive, and ends with a message where another has not done so for a while, or
has ended with an error. The job is then started again and resumes. Process 0
keeps what is written down: where it dies, JAX's runtime may be quicker, and
aborts the others with a message of its own.
"""

from collections.abc import Callable, Iterator
import contextlib
import json
import os
import sys
import threading
import time
import traceback
from typing import Any

import jax
from jax._src import distributed  # the job's key-value store has no other door
from jax.experimental import multihost_utils
import numpy as np

_ALIVE = "genrec_jax/alive"
_RESTART = (
  "Start the same command again on every host: it resumes at the last"
  " checkpoint."
)
# Process 0 keeps the job's store: the others read in it that it is ending.
_FAREWELL_SECONDS = 3.0
# Preparing a data set may take hours.
_DAY_MS = 24 * 3600 * 1000


@contextlib.contextmanager
def joined(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
  *,
  patience_seconds: float = 60.0,
) -> Iterator[None]:
  """Joins the job's other processes for as long as the context lasts.

  An error ends this process at once, and thereby the job: leaving in an orderly
  way would mean waiting for processes that wait for this one.

  Args:
    coordinator: host:port of process 0; None where the platform knows.
    num_processes: likewise.
    process_id: likewise.
    patience_seconds: silence after which a process counts as gone.
  """
  # Left to itself the runtime aborts on a lost process, with a stack trace.
  jax.config.update("jax_enable_recoverability", True)
  jax.distributed.initialize(coordinator, num_processes, process_id)
  watch = _Watch(patience_seconds)
  watch.start()
  try:
    yield
  except BaseException as error:
    if isinstance(error, SystemExit) and not error.code:
      watch.end()
      raise
    _leave(error, watch)
  client = distributed.global_state.client
  client.wait_at_barrier("genrec_jax/end", _DAY_MS)
  watch.end()
  if jax.process_index() == 0:
    # It keeps the job's store, and a process that loses the store before it has
    # taken its leave is aborted: the keeper goes last. The call returns once
    # every other process has gone.
    client.get_live_nodes(list(range(jax.process_count())))
  jax.distributed.shutdown()


def _leave(error: BaseException, watch: "_Watch") -> None:
  """Says why, to people and to the other processes, and ends the process."""
  if isinstance(error, SystemExit):
    print(error.code, file=sys.stderr)
  elif isinstance(error, jax.errors.JaxRuntimeError):
    lines = str(error).splitlines()
    print(
      f"error: process {jax.process_index()} could not go on:"
      f" {lines[0] if lines else error}. If another process was killed, this"
      f" is the consequence. {_RESTART}",
      file=sys.stderr,
    )
  elif isinstance(error, KeyboardInterrupt):
    print("interrupted", file=sys.stderr)
  else:
    traceback.print_exception(error)
  sys.stderr.flush()
  sys.stdout.flush()
  with contextlib.suppress(jax.errors.JaxRuntimeError):
    watch.end(f"ended with an error ({type(error).__name__})")
    if jax.process_index() == 0:
      time.sleep(_FAREWELL_SECONDS)
  os._exit(130 if isinstance(error, KeyboardInterrupt) else 1)


class _Watch(threading.Thread):
  """Tells the other processes that this one lives, and watches them."""

  def __init__(self, patience_seconds: float):
    super().__init__(daemon=True, name="watch")
    self._patience = patience_seconds
    self._client = distributed.global_state.client
    self._me = jax.process_index()
    self._stopped = threading.Event()

  def run(self) -> None:
    heard: dict[str, tuple[str, float]] = {}
    beat = 0
    while not self._stopped.wait(1.0):
      beat += 1
      try:
        self._tell(str(beat))
        entries = self._client.key_value_dir_get(_ALIVE)
      except jax.errors.JaxRuntimeError as error:
        if not self._stopped.is_set():
          self._give_up(f"process 0 cannot be reached ({_first_line(error)})")
        return
      now = time.monotonic()
      for key, value in entries:
        name = key.rsplit("/", 1)[-1]
        if name == str(self._me) or value == "done":
          continue
        if value.startswith("ended"):
          self._give_up(f"process {name} {value}")
        before, since = heard.get(name, ("", now))
        heard[name] = (value, now if value != before else since)
        if now - heard[name][1] > self._patience:
          self._give_up(
            f"process {name} of {jax.process_count()} has not been heard of"
            f" for {self._patience:.0f} s: killed, or its host is down"
          )

  def end(self, reason: str = "done") -> None:
    """Stops watching and tells the others why this process is gone."""
    self._stopped.set()
    self.join()
    self._tell(reason)

  def _tell(self, value: str) -> None:
    self._client.key_value_set(
      f"{_ALIVE}/{self._me}", value, allow_overwrite=True
    )

  def _give_up(self, reason: str) -> None:
    print(f"error: {reason}. {_RESTART}", file=sys.stderr, flush=True)
    os._exit(1)


def _first_line(error: Exception) -> str:
  return (str(error).splitlines() or [""])[0]


def first_alone(work: Callable[[], None]) -> None:
  """Does the work in process 0, then in the others, which find it done."""
  if jax.process_count() == 1:
    work()
    return
  if jax.process_index() == 0:
    work()
  client = distributed.global_state.client
  client.wait_at_barrier("genrec_jax/first_alone", _DAY_MS)
  if jax.process_index() != 0:
    work()


def gather_json(value: Any) -> list[Any]:
  """Every process's value, in process order, on every process."""
  if jax.process_count() == 1:
    return [value]
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  sizes = multihost_utils.process_allgather(np.array([data.size], np.int32))
  sizes = sizes.reshape(-1)
  padded = np.zeros(int(sizes.max()), np.uint8)
  padded[: data.size] = data
  rows = multihost_utils.process_allgather(padded)
  return [
    json.loads(row[:size].tobytes())
    for row, size in zip(rows, sizes, strict=True)
  ]


def merge_json(value: dict[str, Any]) -> dict[str, Any]:
  """The entries of every process's dict, on every process."""
  merged: dict[str, Any] = {}
  for one in gather_json(value):
    merged.update(one)
  return merged


def any_process(flag: bool) -> bool:
  """Whether the flag is set on at least one process."""
  return any(gather_json(bool(flag)))
