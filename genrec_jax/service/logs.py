# SPDX-License-Identifier: Apache-2.0
"""Log lines as JSON, one object a line: {"time", "level", "message", ...}."""

import json
import logging
import sys
import time

# And from where on: a server's own lines are of errors alone.
_LEVELS = {"genrec_jax.service": logging.INFO, "uvicorn": logging.WARNING}


class JsonLines(logging.Formatter):
  """A record with its `fields`, and the traceback of an error."""

  def format(self, record: logging.LogRecord) -> str:
    """One line."""
    when = time.gmtime(record.created)
    found = {
      "time": f"{time.strftime('%FT%T', when)}.{int(record.msecs):03d}Z",
      "level": record.levelname.lower(),
      "message": record.getMessage(),
      **vars(record).get("fields", {}),
    }
    if record.exc_info:
      found["traceback"] = self.formatException(record.exc_info)
    return json.dumps(found)


def to_stderr() -> None:
  """Writes what services and their server log to stderr, from now on."""
  handler = logging.StreamHandler(sys.stderr)
  handler.setFormatter(JsonLines())
  for name, level in _LEVELS.items():
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
