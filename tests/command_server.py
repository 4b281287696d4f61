# SPDX-License-Identifier: Apache-2.0
"""Runs scripts as processes that need not import the libraries again.

    python tests/command_server.py SOCKET

Imports what scripts/ import, which takes seconds, and touches no device. Each
request at the Unix socket is a command: the server forks, and the fork becomes
that command, with its own arguments, environment, folder, output, signals and
exit status, as if Python had been started on the script. Ends when its standard
input does. tests/commands.py is the client.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import socket
import sys
import threading
import traceback

# Brings TensorFlow, whose threads do not live through a fork; scripts import
# it when they read from TFDS.
_LEFT_OUT = (
  "genrec_jax.data.sources.movielens_tfds",
  "genrec_jax.cli.__main__",
)
_ALSO = (
  *("absl.app", "ml_collections.config_flags", "pyarrow.parquet"),
  *("scipy.stats", "sklearn.decomposition", "sklearn.feature_extraction.text"),
)


def _import_libraries() -> None:
  import genrec_jax

  for module in pkgutil.walk_packages(genrec_jax.__path__, "genrec_jax."):
    if module.name not in _LEFT_OUT:
      importlib.import_module(module.name)
  for name in _ALSO:
    importlib.import_module(name)
  from tests import quick_xla

  quick_xla.read_flags()


def _adopt(environment: dict[str, str]) -> None:
  """Sets the environment, and what JAX read of it when it was imported."""
  import jax

  before = dict(os.environ)
  if before.get("XLA_FLAGS") != environment.get("XLA_FLAGS"):
    raise ValueError("a command cannot set XLA_FLAGS: XLA has read them")
  os.environ.clear()
  os.environ.update(environment)
  for name in {n for n in {*before, *environment} if n.startswith("JAX_")}:
    value = environment.get(name)
    if value == before.get(name):
      continue
    if value is None:
      raise ValueError(f"a command cannot take {name} away, only set it")
    now = jax.config.values[name.lower()]
    if isinstance(now, bool):
      value = value.lower() in ("1", "true", "yes", "on")
    elif isinstance(now, int | float):
      value = type(now)(value)
    jax.config.update(name.lower(), value)


def _exit_code(error: SystemExit) -> int:
  """What Python makes of it."""
  if error.code is None:
    return 0
  if isinstance(error.code, int):
    return error.code
  print(error.code, file=sys.stderr)
  return 1


def _become(request: dict) -> int:
  """Runs the command in this process; its exit status."""
  os.chdir(request["cwd"])
  is_module = request["argv"][0] == "-m"
  script, *_ = sys.argv = request["argv"][is_module:]
  sys.path[0] = os.path.dirname(os.path.abspath(script))
  try:
    _adopt(request["env"])
    # Scripts that start scripts do it by way of the server, too.
    from tests import commands

    commands.reach_through(request["socket"])
    if is_module:
      # As under -P: not from the folder that it starts in.
      del sys.path[0]
      runpy.run_module(script, run_name="__main__", alter_sys=True)
    else:
      runpy.run_path(script, run_name="__main__")
    return 0
  except SystemExit as error:
    return _exit_code(error)
  except BaseException:
    traceback.print_exc()
    return 1
  finally:
    threading._shutdown()
    atexit._run_exitfuncs()


def _fork_command(
  request: dict, streams: list[int], connection: socket.socket
) -> int:
  pid = os.fork()
  if pid:
    return pid
  code = 1
  try:
    connection.close()
    for number, stream in enumerate(streams, start=1):
      os.dup2(stream, number)
      os.close(stream)
    code = _become(request)
    sys.stdout.flush()
    sys.stderr.flush()
  finally:
    os._exit(code)


def _attend(connection: socket.socket, path: str) -> None:
  """Starts the command that is asked for and answers: its id, its status."""
  message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 2)
  while not message.endswith(b"\n"):
    message += connection.recv(1 << 20)
  request = json.loads(message) | {"socket": path}
  pid = _fork_command(request, streams, connection)
  connection.sendall(f"{pid}\n".encode())
  status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
  connection.sendall(f"{status}\n".encode())


def _reap() -> None:
  """Lets go of those that waited for commands that have ended."""
  with contextlib.suppress(ChildProcessError):
    while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
      pass


def serve(path: str) -> None:
  """Answers requests until standard input ends."""
  with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen()
    _import_libraries()
    # Nothing of it is garbage, and looking would copy its pages.
    gc.freeze()
    # As in tests/conftest.py.
    gc.set_threshold(5_000)
    print("ready", flush=True)
    while True:
      ready, _, _ = select.select([listener, sys.stdin], [], [])
      if sys.stdin in ready:
        return _reap()
      connection, _ = listener.accept()
      with connection:
        # A process that waits for the command, one for each.
        if os.fork() == 0:
          listener.close()
          try:
            _attend(connection, path)
          finally:
            os._exit(0)
      _reap()


if __name__ == "__main__":
  serve(sys.argv[1])
