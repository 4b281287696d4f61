# SPDX-License-Identifier: Apache-2.0
"""Callers that leave, bodies that do not end, lines of the log."""

import asyncio
import contextlib
import json
import logging
import socket
import threading

import pytest

from genrec_jax.service import edge, logs, process


def _scope(path):
  return {
    **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1"},
    **{"method": "POST", "scheme": "http", "path": path, "root_path": ""},
    **{"raw_path": path.encode(), "query_string": b""},
    **{"server": ("test", 80), "client": ("127.0.0.1", 1)},
    "headers": [(b"content-type", b"application/json")],
  }


async def _until(holds):
  async with asyncio.timeout(10):
    while not holds():
      await asyncio.sleep(0.002)


def test_who_leaves_is_not_computed_for(make, known):
  users, _, data = known
  go, asked, sent = threading.Event(), [], []
  go.set()

  def before(requests):
    asked.extend(int(record["user"]) for record in requests.history)
    assert go.wait(20)

  service, client = make(before)
  go.clear()
  asked.clear()
  body = {"type": "http.request", "body": json.dumps({"user_id": users[1]})}
  body["body"] = body["body"].encode()

  async def receive():
    if body:
      taken = dict(body)
      body.clear()
      return taken
    await _until(lambda: len(service.engine))
    return {"type": "http.disconnect"}

  async def send(message):
    sent.append(message)

  async def leave():
    await _until(lambda: asked)
    await client.app(_scope("/v1/recommend"), receive, send)

  held = threading.Thread(target=client.recommend, kwargs={"user_id": users[0]})
  held.start()
  asyncio.run(leave())
  go.set()
  held.join()
  client.recommend(user_id=users[2])
  assert asked == [0, 2] and not sent
  value = service.metrics.registry.get_sample_value
  labels = {"route": "/v1/recommend", "code": "499"}
  assert value("genrec_requests_total", labels) == 1
  assert len(service.engine) == 0


def test_a_body_that_does_not_end_is_refused(client, monkeypatch):
  monkeypatch.setattr(edge, "_READ_SECONDS", 0.02)

  async def receive():
    await asyncio.sleep(20)

  sent = []

  async def send(message):
    sent.append(message)

  asyncio.run(client.app(_scope("/v1/recommend"), receive, send))
  assert sent[0]["status"] == 408
  assert json.loads(sent[1]["body"])["error"] == "slow_body"


def test_lines_of_the_log_are_json(monkeypatch, capsys):
  for name in logs._LEVELS:
    logger = logging.getLogger(name)
    for field in ("handlers", "propagate", "level"):
      monkeypatch.setattr(logger, field, getattr(logger, field))
  logs.to_stderr()
  logging.getLogger("genrec_jax.service.access").info(
    "answered", extra={"fields": {"request_id": 'a"\n'}}
  )
  try:
    raise ValueError("why\nso")
  except ValueError:
    logging.getLogger("uvicorn.error").exception("it failed")
  logging.getLogger("uvicorn.error").info("not told")
  first, second = map(json.loads, capsys.readouterr().err.splitlines())
  assert (first["level"], first["request_id"]) == ("info", 'a"\n')
  assert second["message"] == "it failed" and "why" in second["traceback"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_ipv6(service, capsys):
  with contextlib.ExitStack() as stack:
    listening = process.Listening(host="::1", port=0)
    try:
      ((_, bound),) = process._servers(service, listening, stack)
    except OSError as error:
      pytest.skip(str(error))
    port = bound.getsockname()[1]
  assert capsys.readouterr().out == f"listening: http://[::1]:{port}\n"
