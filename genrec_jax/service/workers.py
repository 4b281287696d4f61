# SPDX-License-Identifier: Apache-2.0
"""Threads beside the model's: what reads and writes for requests.

    workers = Workers("reader", threads=4, most_waiting=256)
    found = await workers.do(read, user, seconds=0.5)
    await apart("load", load, name)

A queue in front of the model is of no use where requests pile up before they
reach it, so these are bounded too: what is too much is refused at once, and
what is late by its turn is not begun.
"""

import asyncio
from collections.abc import Callable
import concurrent.futures
import threading
from typing import Any

from genrec_jax.service.refused import Refused, late


class Workers:
  """See the module docstring."""

  def __init__(self, name: str, *, threads: int, most_waiting: int):
    """Starts none yet.

    Args:
      name: of the threads.
      threads: at most.
      most_waiting: calls that are there at a time, the running ones among them.
    """
    self._pool = concurrent.futures.ThreadPoolExecutor(threads, name)
    self._most = most_waiting
    self._room = threading.BoundedSemaphore(most_waiting)

  async def do(
    self, call: Callable[..., Any], *args: Any, seconds: float | None = None
  ) -> Any:
    """Calls it in a thread.

    Args:
      call: what to call.
      args: with what.
      seconds: after which nobody waits for it any more; None = never.

    Raises:
      Refused: too many wait, or it was not done in time.
    """
    if not self._room.acquire(blocking=False):
      text = f"{self._most} requests wait, as many as may: ask later."
      raise Refused(503, "queue_full", text, 1.0)
    future = self._pool.submit(call, *args)
    # Also of one that is given up before it begins.
    future.add_done_callback(lambda _: self._room.release())
    try:
      return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
    except TimeoutError:
      raise late() from None

  def close(self) -> None:
    """Waits for what runs; what has not begun never will."""
    self._pool.shutdown(cancel_futures=True)


async def apart(name: str, call: Callable[..., Any], *args: Any) -> Any:
  """Calls it in a thread of its own, for which no end of a process waits."""
  future: concurrent.futures.Future = concurrent.futures.Future()
  future.set_running_or_notify_cancel()

  def run() -> None:
    try:
      future.set_result(call(*args))
    except BaseException as error:
      future.set_exception(error)

  threading.Thread(target=run, name=name, daemon=True).start()
  return await asyncio.wrap_future(future)
