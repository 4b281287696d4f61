# SPDX-License-Identifier: Apache-2.0
"""Threads for requests: bounded, and nothing is begun that is late."""

import asyncio
import threading

import pytest

from genrec_jax.service.refused import Refused
from genrec_jax.service.workers import Workers, apart


@pytest.fixture
def workers():
  made = Workers("worker", threads=1, most_waiting=2)
  yield made
  made.close()


def test_what_is_too_much_is_refused_and_what_is_late_is_not_begun(workers):
  go, begun = threading.Event(), []

  def call(name):
    begun.append((name, threading.current_thread().name))
    assert go.wait(20)
    return name

  async def ask():
    first = asyncio.create_task(workers.do(call, "first"))
    while not begun:
      await asyncio.sleep(0.001)
    with pytest.raises(Refused) as late:
      await workers.do(call, "late", seconds=0.02)
    gone = asyncio.create_task(workers.do(call, "gone"))
    await asyncio.sleep(0)
    with pytest.raises(Refused) as full:
      await workers.do(call, "too many")
    gone.cancel()
    await asyncio.wait({gone})
    # There is room again.
    last = asyncio.create_task(workers.do(call, "last"))
    await asyncio.sleep(0)
    go.set()
    return late.value, full.value, await asyncio.gather(first, last)

  late, full, told = asyncio.run(ask())
  assert late.status == 504
  assert (full.status, full.reason) == (503, "queue_full")
  assert full.retry_after_seconds == 1
  assert told == ["first", "last"]
  assert begun == [("first", "worker_0"), ("last", "worker_0")]


def test_what_a_call_raises_is_raised(workers):
  def fail():
    raise KeyError("why")

  for do in (workers.do(fail), apart("alone", fail)):
    with pytest.raises(KeyError, match="why"):
      asyncio.run(do)


def test_nobody_waits_for_what_runs_apart():
  go, ended = threading.Event(), threading.Event()

  def call():
    thread = threading.current_thread()
    assert thread.daemon and thread.name == "alone"
    go.wait(20)
    ended.set()
    return 1

  async def leave():
    await asyncio.wait_for(apart("alone", call), 0.01)

  with pytest.raises(TimeoutError):
    asyncio.run(leave())
  assert not ended.is_set()
  go.set()
  assert ended.wait(5)
