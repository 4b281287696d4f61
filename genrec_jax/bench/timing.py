# SPDX-License-Identifier: Apache-2.0
"""Seconds of what runs on a device: compilation apart, then each call alone.

A call ends when its results are there (block_until_ready), not when it is
dispatched. The first calls are left out: they load what the others find.
"""

from collections.abc import Callable, Sequence
import statistics
import time
from typing import Any

import jax

WARM_UP = 2


def compile_timed(
  function: Callable[..., Any], *args: Any
) -> tuple[jax.stages.Compiled, float]:
  """The compiled jitted function and the seconds that tracing and compiling
  took.

  Args:
    function: jitted.
    *args: arrays or shapes.
  """
  started = time.perf_counter()
  compiled = function.lower(*args).compile()
  return compiled, time.perf_counter() - started


def seconds_of_calls(
  call: Callable[[], Any],
  repeats: int,
  deadline: int | float | None = None,
  warm_up: int = WARM_UP,
) -> list[float]:
  """Seconds of each of `repeats` calls, after `warm_up` that do not count.

  Args:
    call: returns arrays, which are waited for.
    repeats: timed calls, at least one.
    deadline: of time.time(); once it is past, no further call is made.
    warm_up: calls before.
  """
  for _ in range(warm_up):
    jax.block_until_ready(call())
  seconds = []
  for _ in range(repeats):
    started = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - started)
    if deadline is not None and time.time() >= deadline:
      break
  return seconds


def summary(seconds: Sequence[float]) -> dict[str, Any]:
  """Median, least, and how many there are."""
  return {
    "seconds": float(f"{statistics.median(seconds):.4g}"),
    "seconds_min": float(f"{min(seconds):.4g}"),
    "repeats": len(seconds),
  }
