# SPDX-License-Identifier: Apache-2.0
"""Requests that get no answer, and why: an HTTP status and a word for it."""

import math


class Refused(Exception):
  """A request is turned away.

  Attributes:
    status: of HTTP.
    reason: one word, which metrics count.
    retry_after_seconds: when to ask again; None = not at all.
  """

  def __init__(
    self,
    status: int,
    reason: str,
    detail: str,
    retry_after_seconds: float | None = None,
  ):
    super().__init__(detail)
    self.status, self.reason = status, reason
    self.retry_after_seconds = None
    if retry_after_seconds is not None:
      self.retry_after_seconds = max(1, math.ceil(retry_after_seconds))


def late() -> Refused:
  """What is said of a request whose deadline has passed."""
  return Refused(504, "deadline", "the deadline passed before an answer.")
