# SPDX-License-Identifier: Apache-2.0
"""Where requests enter and answers leave: sizes, ids, counts, one log line.

    app.add_middleware(Edge, service=service)

A body is read whole before anything looks at it, up to a limit (413) and within
a time (408), so that a slow upload holds no more than its own connection.
Whoever leaves is not computed for: what waits for them is cancelled. A log line
names no user, so deleting one leaves nothing to delete here.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
import json
import logging
import time
from typing import Any
import uuid

from genrec_jax.service.metrics import Metrics
from genrec_jax.service.quota import Quota
from genrec_jax.service.refused import Refused

_LOG = logging.getLogger("genrec_jax.service.access")
# What nginx calls a client that has left.
_GONE = 499
_READ_SECONDS = 10.0
HEADER = "x-request-id"
_CALLER = b"x-client"
_LIMITED = ("/v1/recommend", "/v1/rank", "/v1/events")
_LONGEST_ID = 128

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _Left(Exception):
  """Whoever asked has gone."""


class Edge:
  """An ASGI application around another one."""

  def __init__(
    self,
    app: Any,
    *,
    metrics: Metrics,
    most_bytes: int = 1_000_000,
    quota: Quota | None = None,
  ):
    """Wraps an application.

    Args:
      app: the application.
      metrics: where answers are counted.
      most_bytes: of a body.
      quota: of each caller; None = no limit.
    """
    self._app, self._metrics = app, metrics
    self._most_bytes, self._quota = most_bytes, quota

  async def __call__(
    self, scope: Message, receive: Receive, send: Send
  ) -> None:
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return
    started, code = time.monotonic(), _GONE
    request_id = _request_id(scope)
    scope.setdefault("state", {})["request_id"] = request_id

    async def sending(message: Message) -> None:
      nonlocal code
      if message["type"] == "http.response.start":
        code = message["status"]
        message["headers"] = [
          *message.get("headers", ()),
          (HEADER.encode(), request_id.encode()),
        ]
      await send(message)

    try:
      self._check_quota(scope)
      body = await self._body(scope, receive)
      await self._run(scope, body, receive, sending)
    except Refused as refused:
      self._metrics.rejected(refused.reason)
      await _refuse(refused, request_id, sending)
    except _Left:
      pass
    except Exception:
      code = 500
      raise
    finally:
      # A route's own path: that of a request may be anything.
      route = scope.get("route")
      path = "other" if route is None else route.path
      seconds = time.monotonic() - started
      self._metrics.answered(path, code, seconds)
      fields = {
        "request_id": request_id,
        "route": path,
        "code": code,
        "ms": round(seconds * 1000, 2),
      }
      _LOG.info("answered", extra={"fields": fields})

  def _check_quota(self, scope: Message) -> None:
    if self._quota is None or scope["path"] not in _LIMITED:
      return
    headers = dict(scope["headers"])
    caller = headers.get(_CALLER, b"").decode("latin-1")[:_LONGEST_ID]
    wait = self._quota.take(caller or (scope.get("client") or ("",))[0])
    if wait:
      raise Refused(429, "quota", "more requests than this caller may.", wait)

  async def _body(self, scope: Message, receive: Receive) -> bytes:
    """All of it.

    Raises:
      Refused: it is too large, or takes too long.
    """
    large = Refused(
      413, "too_large", f"a body may have {self._most_bytes:,} bytes."
    )
    said = dict(scope["headers"]).get(b"content-length", b"0")
    if not said.isdigit() or int(said) > self._most_bytes:
      raise large
    parts, size, more = [], 0, True
    try:
      async with asyncio.timeout(_READ_SECONDS):
        while more:
          message = await receive()
          if message["type"] == "http.disconnect":
            raise _Left
          parts.append(message.get("body", b""))
          size += len(parts[-1])
          more = message.get("more_body", False)
          if size > self._most_bytes:
            raise large
    except TimeoutError:
      raise Refused(408, "slow_body", "the body took too long.") from None
    return b"".join(parts)

  async def _run(
    self, scope: Message, body: bytes, receive: Receive, send: Send
  ) -> None:
    """Runs the application for as long as somebody waits."""
    told = False

    async def replay() -> Message:
      nonlocal told
      if not told:
        told = True
        return {"type": "http.request", "body": body, "more_body": False}
      await asyncio.Event().wait()
      raise AssertionError("nobody sets it")

    running = asyncio.ensure_future(self._app(scope, replay, send))
    leaving = asyncio.ensure_future(receive())
    try:
      await asyncio.wait(
        {running, leaving}, return_when=asyncio.FIRST_COMPLETED
      )
      if not running.done() and leaving.result()["type"] == "http.disconnect":
        running.cancel()
      await asyncio.wait({running})
    finally:
      for task in (running, leaving):
        task.cancel()
    if running.cancelled():
      raise _Left
    running.result()


async def _refuse(refused: Refused, request_id: str, send: Send) -> None:
  body = json.dumps(error_of(refused, request_id)).encode()
  headers = [
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(body)),
  ]
  if refused.retry_after_seconds is not None:
    headers.append((b"retry-after", b"%d" % refused.retry_after_seconds))
  start = {"type": "http.response.start", "status": refused.status}
  await send({**start, "headers": headers})
  await send({"type": "http.response.body", "body": body})


def error_of(refused: Refused, request_id: str) -> dict[str, str]:
  """What is sent of an error."""
  return {
    "error": refused.reason,
    "detail": str(refused),
    "request_id": request_id,
  }


def _request_id(scope: Message) -> str:
  """The caller's, where it is a plain one; else a new one."""
  said = dict(scope["headers"]).get(HEADER.encode(), b"").decode("latin-1")
  plain = said.isascii() and said.isprintable() and len(said) <= _LONGEST_ID
  return said if said and plain else uuid.uuid4().hex
