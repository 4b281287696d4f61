# SPDX-License-Identifier: Apache-2.0
"""How a command ends: an exit status, and for an error at most 20 lines.

    0    done
    1    what was asked for cannot be done; `error: ...` says why
    2    the command line cannot be; nothing was done
    3    genrec compile: done, and a step does not fit the chips
    130  Ctrl-C

An error is what a user can mend or pass on: a message, and no traceback.
Where the message is not enough, GENREC_TRACEBACK=1 in the environment adds one.
"""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
import pathlib
import re
import signal
import sys
import threading
import traceback
from typing import NoReturn

from absl import logging as absl_logging

FAILED, USAGE, INTERRUPTED = 1, 2, 130
TRACEBACK = "GENREC_TRACEBACK"
# As the system words them, also in errors of TensorStore.
_DISK = (
  "No space left on device",
  "Disk quota exceeded",
  "File too large",
  "Read-only file system",
)
_LINES, _CHARACTERS = 20, 1000
# What the handlers of signals raise.
_OF_SIGNALS = {
  KeyboardInterrupt: signal.SIGINT,
  SystemExit: signal.SIGTERM,
}
_AGAIN_SECONDS = 0.05
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


class UsageError(ValueError):
  """A command line that cannot be."""


def ended(command: Callable[[], int]) -> int:
  """Runs a command; its exit status, or that of the error that it printed."""
  try:
    return command()
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return INTERRUPTED
  except BrokenPipeError:
    # Whoever reads our output has enough. Python flushes once more at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
  except Exception as error:
    if os.environ.get(TRACEBACK):
      traceback.print_exc()
    print(f"error: {short(said(error))}", file=sys.stderr)
    return USAGE if isinstance(error, UsageError) else FAILED


def leave(command: Callable[[], int]) -> NoReturn:
  """Does it and ends the process with its status.

  After a signal at once: threads of libraries are at work, compiling perhaps,
  and Python's own end would take from under them what they use.
  """
  try:
    status = command()
  except SystemExit as error:
    # SIGTERM before there is anything to save; an error has a text.
    if error.code != 0:
      raise
    _now(0)
  if status == INTERRUPTED:
    _now(status)
  sys.exit(status)


def _now(status: int) -> NoReturn:
  with contextlib.suppress(OSError):
    sys.stdout.flush()
    sys.stderr.flush()
  os._exit(status)


def insist_on_signals() -> None:
  """Has the process told again of a signal that a callback has swallowed.

  A handler may run between any two instructions, also within a callback of the
  garbage collector (JAX has one) or of a weak reference. What it raises there
  ends the callback alone: Python prints it and goes on.
  """
  before = sys.unraisablehook

  def told(swallowed) -> None:
    number = _OF_SIGNALS.get(swallowed.exc_type)
    if number is None:
      before(swallowed)
      return
    # Not before the callback has returned.
    again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()

  sys.unraisablehook = told


@contextlib.contextmanager
def interrupted_at_once() -> Iterator[None]:
  """While it lasts Ctrl-C raises nothing, and ends the process where it is.

  For imports, which leave nothing behind: libraries abort where one of theirs
  is interrupted.
  """
  before = signal.getsignal(signal.SIGINT)
  mine = threading.current_thread() is threading.main_thread()
  if not mine or before is not signal.default_int_handler:
    yield
    return

  def end(number, frame) -> None:
    print("interrupted", file=sys.stderr)
    _now(INTERRUPTED)

  signal.signal(signal.SIGINT, end)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, before)


def said(error: Exception) -> str:
  """The message of an error, for whoever typed the command."""
  text = str(error)
  if disk := _of_disk(error):
    return disk
  if isinstance(error, MemoryError):
    return (
      "out of memory (RAM)" + (f": {text}" if text else "") + "; smaller"
      " batches (--config.pipeline.batch_size) or fewer rows need less."
    )
  if "RESOURCE_EXHAUSTED" in text:
    return (
      f"out of memory (device): {text.splitlines()[0]}\nSmaller batches need"
      " less: --config.pipeline.batch_size for training,"
      " --config.requests.batch_size for what is asked."
    )
  if isinstance(error, ValueError | OSError | FloatingPointError) and text:
    return text
  if isinstance(error, ImportError):
    return f"{text}. Is the package installed, with the extra it needs?"
  return (
    f"{type(error).__name__}: {text} ({_place(error)}). This is a fault of the"
    f" library; {TRACEBACK}=1 in the environment shows where it comes from."
  )


def _of_disk(error: Exception) -> str:
  """What is to be said of a disk that takes no more; '' of other errors."""
  text = str(error)
  for reason in _DISK:
    if reason in text:
      found = re.search(r"""["'](/[^"']+)["']""", text)
      path = f"{found[1]} cannot be written" if found else "nothing is written"
      path = re.sub(r"\.(tmp-unsealed|orbax-checkpoint-tmp)", "", path)
      return (
        f"{reason.lower()}: {path}. Make room and start the same command"
        " again: a training goes on from its last checkpoint."
      )
  return ""


def silence() -> None:
  """Keeps libraries from logging what `ended` says, with their tracebacks.

  Orbax logs errors of its threads, then raises them; asyncio, tasks that nobody
  waits for after the first has failed.
  """
  absl_logging.use_absl_handler()
  absl_logging.set_verbosity(absl_logging.WARNING)
  absl_logging.get_absl_logger().addFilter(_is_of_no_library)
  logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def _is_of_no_library(record: logging.LogRecord) -> bool:
  return "orbax" not in pathlib.PurePath(record.pathname).parts


def short(text: str) -> str:
  """At most 20 lines of at most 1,000 characters; says what is left out."""
  lines = [
    line
    if len(line) <= _CHARACTERS
    else f"{line[:_CHARACTERS]} ... ({len(line):,} characters)"
    for line in text.strip().splitlines()
  ]
  if len(lines) > _LINES:
    left_out = len(lines) - _LINES + 1
    lines = [*lines[: _LINES - 1], f"... ({left_out:,} more lines)"]
  return "\n".join(lines)


def _place(error: Exception) -> str:
  """File and line of the package's that was last at work."""
  frames = traceback.extract_tb(error.__traceback__)
  of_package = [f for f in frames if f.filename.startswith(str(_PACKAGE))]
  last = (of_package or frames)[-1]
  return f"{pathlib.Path(last.filename).name}, line {last.lineno}"
