# SPDX-License-Identifier: Apache-2.0
"""The process of a service: sockets, signals, and the order in which it ends.

It listens before a model is loaded, and says that it is not ready. SIGTERM and
Ctrl-C end it in order: new requests are refused, those that were accepted are
answered, connections are closed, then the store. What is not answered within
the time that is given for it is refused.
"""

import asyncio
import contextlib
import dataclasses
import signal
import socket
import sys
import threading

import uvicorn

from genrec_jax.service import logs
from genrec_jax.service.app import create_app
from genrec_jax.service.opening import Source
from genrec_jax.service.quota import Quota
from genrec_jax.service.refused import Refused
from genrec_jax.service.service import Service

_KEEP_ALIVE_SECONDS = 30
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclasses.dataclass(frozen=True)
class Listening:
  """Where it listens.

  Attributes:
    host: address.
    port: of callers; 0 = any that is free.
    admin_port: of operators, on the loopback address; None = that of callers.
    most_bytes: of a body.
    quota_per_second: requests of each caller; 0 = no limit.
    drain_seconds: for what was accepted before the end.
  """

  host: str = "127.0.0.1"
  port: int = 8000
  admin_port: int | None = None
  most_bytes: int = 1_000_000
  quota_per_second: float = 0.0
  drain_seconds: float = 30.0

  def __post_init__(self):
    if self.host not in _LOOPBACK and self.admin_port is None:
      raise ValueError(
        f"host={self.host} lets others in, and whoever reaches the port may"
        " load models and read and delete users: give operators a port of their"
        " own (--admin_port), which listens on this machine alone."
      )


class _Server(uvicorn.Server):
  """Leaves signals to the process, which has several servers."""

  @contextlib.contextmanager
  def capture_signals(self):
    yield


def serve(
  service: Service, name: str, source: Source, listening: Listening
) -> int | None:
  """Serves until a signal; that signal, or None where no model could be loaded.

  Args:
    service: neither started nor loaded.
    name: of the first version.
    source: of it.
    listening: where.

  Raises:
    OSError: a port that is in use.
    ValueError: the version cannot be loaded.
  """
  return asyncio.run(_serve(service, name, source, listening))


async def _serve(
  service: Service, name: str, source: Source, listening: Listening
) -> int:
  with contextlib.ExitStack() as stack:
    servers = _servers(service, listening, stack)
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    signals: list[int] = []

    def arrived(number: int) -> None:
      signals.append(number)
      service.engine.drain()
      end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
      loop.add_signal_handler(number, arrived, number)
    logs.to_stderr()
    service.start()
    failed: list[Exception] = []

    def load() -> None:
      try:
        service.load(name, source, promote=True)
        print(f"ready: version {name}", flush=True)
      except Exception as error:
        failed.append(error)
        loop.call_soon_threadsafe(end.set)

    tasks = [
      asyncio.create_task(server.serve(sockets=[server_socket]))
      for server, server_socket in servers
    ]
    # No thread of a pool, which would be waited for at the end.
    threading.Thread(target=load, name="load", daemon=True).start()
    ended = asyncio.create_task(end.wait())
    await asyncio.wait({ended, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    service.engine.drain()
    until = loop.time() + listening.drain_seconds
    for server, _ in servers:
      server.should_exit = True
    await asyncio.gather(*tasks)
    ended.cancel()
    await asyncio.to_thread(service.close, max(0.0, until - loop.time()))
  if failed:
    error = failed[0]
    raise ValueError(str(error)) if isinstance(error, Refused) else error
  return signals[0] if signals else signal.SIGTERM


def _servers(
  service: Service, listening: Listening, stack: contextlib.ExitStack
) -> list[tuple[_Server, socket.socket]]:
  """Servers with sockets that listen."""
  quota = None
  if listening.quota_per_second:
    quota = Quota(listening.quota_per_second)
  options = {"most_bytes": listening.most_bytes, "quota": quota}
  alone = listening.admin_port is None
  apps = [(create_app(service, admin=alone, **options), listening.host)]
  ports = [listening.port]
  if not alone:
    # Those who run it are not to be kept out by callers.
    options["quota"] = None
    apps.append((create_app(service, public=False, **options), "127.0.0.1"))
    ports.append(listening.admin_port)
  found = []
  for (app, host), port in zip(apps, ports, strict=True):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = stack.enter_context(
      socket.create_server((host, port), family=family)
    )
    config = uvicorn.Config(
      app,
      access_log=False,
      lifespan="off",
      log_config=None,
      timeout_keep_alive=_KEEP_ALIVE_SECONDS,
      timeout_graceful_shutdown=max(1, round(listening.drain_seconds)),
    )
    address, number = bound.getsockname()[:2]
    shown = f"[{address}]:{number}" if ":" in address else f"{address}:{number}"
    kind = "admin" if found else "listening"
    print(f"{kind}: http://{shown}", flush=True)
    found.append((_Server(config), bound))
  sys.stdout.flush()
  return found
