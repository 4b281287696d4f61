# SPDX-License-Identifier: Apache-2.0
"""POST of JSON over connections that stay open, and nothing else of HTTP.

    client = Client("127.0.0.1", 8000)
    status, body = await client.post("/v1/recommend", {"user_id": "7"})
    await client.close()

A generator of load shares its machine with what it measures: this takes a few
tens of microseconds a request. A connection has one request at a time; where
all are in use another one is opened, up to a bound, beyond which requests wait.
"""

import asyncio
from collections.abc import Mapping
import json
from typing import Any

_END = b"\r\n\r\n"
_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
  """See the module docstring; of one event loop."""

  def __init__(self, host: str, port: int, most_connections: int = 512):
    """Opens nothing yet."""
    self._host, self._port = host, port
    self._room = asyncio.Semaphore(most_connections)
    # The one that was used last is the least likely to have been closed.
    self._free: list[_Pair] = []

  async def post(
    self, path: str, body: Mapping[str, Any]
  ) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer; (0, {}) where the connection failed."""
    data = json.dumps(body).encode()
    head = (
      f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\n"
      "Content-Type: application/json\r\n"
      f"Content-Length: {len(data)}\r\n\r\n"
    )
    async with self._room:
      pair = None
      try:
        pair = self._free.pop() if self._free else await self._opened()
        reader, writer = pair
        writer.write(head.encode() + data)
        status, answer, stays = await _read(reader)
      except (OSError, EOFError, ValueError):
        # EOFError: the server has closed it. Others see no such thing.
        if pair is not None:
          pair[1].close()
        return 0, {}
      if stays:
        self._free.append(pair)
      else:
        pair[1].close()
    return status, json.loads(answer) if answer else {}

  async def close(self) -> None:
    """Closes all connections."""
    for _, writer in self._free:
      writer.close()
      try:
        await writer.wait_closed()
      except OSError:
        # The server was first.
        continue
    self._free = []

  async def _opened(self) -> _Pair:
    return await asyncio.open_connection(self._host, self._port)


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
  """Status, body, and whether the connection stays open."""
  head = (await reader.readuntil(_END)).decode("latin-1").lower()
  first, *lines = head.rstrip().split("\r\n")
  fields = dict(line.split(":", 1) for line in lines)
  size = int(fields.get("content-length", "0"))
  body = await reader.readexactly(size)
  stays = fields.get("connection", "").strip() != "close"
  return int(first.split()[1]), body, stays
