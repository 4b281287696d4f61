# SPDX-License-Identifier: Apache-2.0
"""Schedules, who waits for whom, and what is counted; the smallest client."""

import asyncio
import json

import numpy as np
import pytest

from genrec_jax.bench import open_loop
from genrec_jax.bench.http_client import Client
from genrec_jax.bench.open_loop import Answer, Asked, Schedule


def test_arrivals_are_poisson_and_users_zipf():
  schedule = open_loop.poisson(500, 200, 50, exponent=1.0, seed=3)
  assert (np.diff(schedule.due_N) >= 0).all()
  assert 0 <= schedule.due_N[0] and schedule.due_N[-1] < 200
  counts = np.bincount(schedule.due_N.astype(int), minlength=200)
  # Of a Poisson process the variance is the mean: 500, to 10 % (200 seconds).
  assert counts.mean() == pytest.approx(500, rel=0.01)
  assert counts.var() == pytest.approx(500, rel=0.35)
  found = np.sort(np.bincount(schedule.user_N, minlength=50))[::-1]
  harmonic = sum(1 / r for r in range(1, 51))
  expected = [len(schedule) / (r * harmonic) for r in range(1, 51)]
  np.testing.assert_allclose(found, expected, rtol=0.1)
  # Who is often there stays so, whatever else is drawn.
  other = open_loop.poisson(500, 200, 50, exponent=1.0, seed=4)
  assert len(other) != len(schedule)
  most = [np.bincount(s.user_N).argmax() for s in (schedule, other)]
  assert most[0] == most[1]
  again = open_loop.poisson(500, 200, 50, exponent=1.0, seed=3)
  np.testing.assert_array_equal(again.due_N, schedule.due_N)
  for wrong in ({"rate": 0}, {"seconds": 0}, {"num_users": 0}):
    with pytest.raises(ValueError, match="must be positive"):
      open_loop.poisson(
        **{"rate": 1.0, "seconds": 1.0, "num_users": 1, **wrong}
      )


def test_nobody_waits_for_an_answer_to_ask():
  """The first answer comes when the last request has been sent."""

  async def run():
    schedule = open_loop.poisson(2000, 0.05, 7)
    all_sent, sent = asyncio.Event(), []

    async def ask(user):
      sent.append(user)
      if len(sent) == len(schedule):
        all_sent.set()
      await all_sent.wait()
      return Answer(200 if user else 503)

    return await asyncio.wait_for(open_loop.open_loop(ask, schedule), 20), sent

  asked, sent = asyncio.run(run())
  assert sent == asked.schedule.user_N.tolist()
  assert ((asked.status_N == 503) == (asked.schedule.user_N == 0)).all()
  # Latencies are from when requests were due, not from when they were sent.
  assert (asked.sent_N >= asked.schedule.due_N).all()
  np.testing.assert_array_equal(
    asked.latency_N, asked.ended_N - asked.schedule.due_N
  )


def test_so_many_are_under_way_and_refusals_do_not_count():
  most, now, good = 0, 0, 0

  async def ask(user):
    nonlocal most, now, good
    now += 1
    most = max(most, now)
    await asyncio.sleep(0.001)
    now -= 1
    good += user > 0
    return Answer(200 if user else 503)

  rate = asyncio.run(open_loop.closed_loop(ask, [0, 1, 2], 5, 0.1))
  assert most == 5
  # What ended after the end does not count either.
  assert good - 5 <= round(rate * 0.1) <= good


def _asked():
  """Ten requests, one every tenth of a second, by hand."""
  due = np.arange(10) / 10
  latency = np.array([0.1, 0.2, 0.3, 0.4, 0.01, 0.02, 0.5, 0.1, 0.1, 0.1])
  codes = [200, 200, 200, 200, 503, 503, 504, 0, 200, 200]
  answers = [Answer(code, degraded=n == 8) for n, code in enumerate(codes)]
  schedule = Schedule(due, np.zeros(10, int), 1.0)
  return Asked(schedule, due + 0.001, due + latency, answers)


def test_what_is_counted_by_hand():
  found = open_loop.summary(_asked(), good_seconds=0.25)
  counted = {
    "requests": 10,
    "offered_per_second": 10.0,
    "answered": 6,
    "good": 4,
    "good_per_second": 4.0,
    "degraded": 1,
    "refused": 2,
    "late": 1,
    "failed": 1,
  }
  assert {name: found[name] for name in counted} == counted
  assert found["latency_ms"]["p50"] == pytest.approx(150)
  assert found["refused_ms"]["p99"] == pytest.approx(19.9)
  assert found["sent_late_ms"]["p99"] == pytest.approx(1)
  nothing = _asked().until(0.0)
  assert open_loop.summary(_empty(), 0.25)["latency_ms"] is None
  assert len(nothing.schedule) == 0


def _empty():
  nothing = np.zeros(0)
  return Asked(Schedule(nothing, np.zeros(0, int), 1.0), nothing, nothing, [])


def test_a_load_and_what_comes_behind_it():
  asked = _asked()
  first, second = asked.until(0.4), asked.since(0.4)
  assert first.schedule.seconds == 0.4 and len(first.schedule) == 4
  assert second.schedule.seconds == pytest.approx(0.6)
  np.testing.assert_allclose(second.schedule.due_N, np.arange(6) / 10)
  np.testing.assert_allclose(second.latency_N, asked.latency_N[4:])
  both = first.schedule.then(second.schedule)
  np.testing.assert_allclose(both.due_N, asked.schedule.due_N)
  assert both.seconds == pytest.approx(1.0)
  # The last one that was not well answered is the degraded one.
  assert open_loop.recovery_seconds(second, 0.25) == pytest.approx(0.4)
  assert open_loop.recovery_seconds(asked.since(0.9), 0.25) == 0.0
  assert open_loop.recovery_seconds(asked.since(0.9), 0.05) is None


def test_the_client_reads_answers_and_keeps_connections():
  opened = 0

  async def serve(reader, writer):
    nonlocal opened
    opened += 1
    while True:
      try:
        head = await reader.readuntil(b"\r\n\r\n")
      except asyncio.IncompleteReadError:
        break
      size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
      said = json.loads(await reader.readexactly(size))
      if said["do"] == "leave":
        break
      body = json.dumps({"path": head.split()[1].decode(), **said}).encode()
      if said["do"] == "nothing":
        body = b""
      more = b"Connection: close\r\n" if said["do"] == "close" else b""
      status = b"503 Busy" if said["do"] == "busy" else b"200 OK"
      writer.write(
        b"HTTP/1.1 %s\r\n%scontent-length: %d\r\n\r\n%s"
        % (status, more, len(body), body)
      )
      if more:
        break
    writer.close()

  async def run():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client("127.0.0.1", port, most_connections=2)
    found = []
    for what in ("ask", "busy", "nothing", "close", "ask", "leave", "ask"):
      found.append(await client.post("/v1/x", {"do": what}))
    one = opened
    # Three at once share two connections.
    many = await asyncio.gather(
      *(client.post("/v1/x", {"do": "ask"}) for _ in range(3))
    )
    await client.close()
    server.close()
    nobody = await client.post("/v1/x", {"do": "ask"})
    return found, one, many, nobody

  found, one, many, nobody = asyncio.run(run())
  asked = {"path": "/v1/x", "do": "ask"}
  assert found[0] == found[4] == found[6] == (200, asked)
  assert found[1][0] == 503 and found[2] == (200, {})
  assert found[3] == (200, {"path": "/v1/x", "do": "close"})
  assert found[5] == nobody == (0, {})
  # One until it was closed, one until the server left, one more.
  assert one == 3
  assert many == [(200, asked)] * 3 and opened == 4
