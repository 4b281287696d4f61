# SPDX-License-Identifier: Apache-2.0
"""Inputs of attention for tests, and all gradients of an implementation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import UNKNOWN_TIME, SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import BlockSizes, silu_attention

SMALL = BlockSizes(128, 128, 64, 128, 128, 128)


@dataclasses.dataclass(frozen=True)
class Case:
  """Sizes and switches of one call."""

  rows: int = 2
  length: int = 150
  heads: int = 2
  width: int = 8
  value_width: int = 12
  segments: bool = True
  position: bool = True
  time: bool = True
  per_head: bool = False
  reach: int = 100
  roles: bool = False
  # Positions and limits of requests, whose items share them; has roles.
  requests: bool = False
  # With requests: events see all others, later ones too.
  whole: bool = False
  # With requests: how many of the events begin one.
  share: float = 0.2
  # Every third target is left out of its row.
  holes: bool = False
  # Context tokens, events and targets of every segment of a row; None = any.
  sizes: tuple[tuple[int, int, int], ...] | None = None
  dtype: str = "float32"
  seed: int = 0
  options: tuple = ()


def _segments(case, rng):
  """Lengths of the segments of a row; what is left is padding."""
  if case.sizes is not None:
    return [sum(size) for size in case.sizes]
  if not case.segments:
    return [case.length]
  lengths, left = [], case.length
  while left > 0 and rng.random() < 0.9:
    lengths.append(
      int(rng.integers(1, max(2, min(left, case.length // 2) + 1)))
    )
    left -= lengths[-1]
  return lengths


def _roles(size, rng, sizes=None):
  """A context prefix, events, targets."""
  if sizes is not None:
    return np.repeat([CONTEXT, EVENT, TARGET], sizes)
  context = int(rng.integers(0, max(1, size // 4) + 1))
  targets = int(rng.integers(0, max(1, (size - context) // 3) + 1))
  roles = np.full(size, EVENT)
  roles[:context] = CONTEXT
  roles[size - targets :] = TARGET if targets else roles[size - targets :]
  return roles


def _of_requests(roles, times, case, rng):
  """Positions, limits and times as layouts of requests have them.

  Every other event asks at the time of its request's first event, from what
  came before that; a target does so of any request. Nobody knows the times of
  a context.
  """
  context = np.sum(roles == CONTEXT)
  end = len(roles) - np.sum(roles == TARGET)
  place = np.arange(len(roles))
  starts = np.append(np.flatnonzero(rng.random(end - context) < case.share), 0)
  of_event = np.array(
    [starts[starts <= n].max() for n in range(end - context)], int
  )
  asks = (place >= context) & (place < end) & ((place - context) % 2 == 0)
  begin = place.copy()
  begin[context:end] = context + of_event
  begin[end:] = np.sort(rng.integers(context, end + 1, len(roles) - end))
  positions = np.where(asks | (place >= end), begin, place)
  limits = np.where(asks | (place >= end), begin, -1)
  limits[:context] = context
  if case.whole:
    limits[context:end] = end
  times = np.append(times, times[-1] + 9)[positions]
  times[:context] = UNKNOWN_TIME
  return positions, limits, times


def make(case: Case):
  """(q, k, v, info, bias), and a cotangent of the output."""
  rng = np.random.default_rng(case.seed)
  shape = case.rows, case.length
  arrays = {
    name: np.zeros(shape, np.int32)
    for name in (
      *("segment", "position", "key_time", "query_time", "role", "limit"),
    )
  }
  for row in range(case.rows):
    at = 0
    for number, size in enumerate(_segments(case, rng)):
      here = row, slice(at, at + size)
      times = np.sort(np.exp(rng.uniform(0, 18, size)).astype(np.int64))
      arrays["segment"][here] = number + 1
      arrays["position"][here] = np.arange(size)
      arrays["key_time"][here] = times
      arrays["query_time"][here] = np.append(times[1:], times[-1] + 1000)
      parts = None if case.sizes is None else case.sizes[number]
      arrays["role"][here] = roles = _roles(size, rng, parts)
      if case.requests:
        told = _of_requests(roles, times, case, rng)
        arrays["position"][here], arrays["limit"][here] = told[:2]
        arrays["key_time"][here] = arrays["query_time"][here] = told[2]
      at += size
  if case.holes:
    places = np.flatnonzero(arrays["role"].ravel() == TARGET)
    for x in arrays.values():
      x.ravel()[places[1::3]] = 0
  segment, position, key_time, query_time, role, limit = (
    jnp.asarray(x) for x in arrays.values()
  )
  info = SequenceInfo(
    *(segment, position, key_time, query_time),
    role if case.roles or case.requests else None,
    limit if case.requests else None,
  )
  # Scores of several units: SiLU is far from linear there.
  scale = 2.0 / case.width**0.25
  heads = (case.rows, case.length, case.heads)
  q, k = (rng.normal(0, scale, (*heads, case.width)) for _ in range(2))
  v, g = (rng.normal(size=(*heads, case.value_width)) for _ in range(2))
  q, k, v, g = (jnp.asarray(x, case.dtype) for x in (q, k, v, g))
  tables = (case.heads,) if case.per_head else ()

  def table(size):
    return jnp.asarray(rng.normal(size=(*tables, size)), jnp.float32)

  bias = BiasTables(
    position=table(2 * case.reach - 1) if case.position else None,
    time=table(129) if case.time else None,
  )
  return (q, k, v, info, bias), g


@functools.cache
def _compiled(implementation, blocks, statics):
  """A jitted call with all gradients; cases of one shape share its program."""

  def attend(q, k, v, bias, info, arrays):
    options = {"normalizer": 8.0} | dict(statics) | arrays
    return silu_attention(
      q,
      k,
      v,
      info,
      bias=bias,
      implementation=implementation,
      blocks=blocks,
      **options,
    )

  @jax.jit
  def both(q, k, v, bias, g, info, arrays):
    out, pull = jax.vjp(lambda *xs: attend(*xs, info, arrays), q, k, v, bias)
    return out, *pull(g)

  return both


def run(implementation, inputs, g, blocks=None, **options):
  """Output and gradients (q, k, v, tables) as float32 arrays by name."""
  q, k, v, info, bias = inputs
  if implementation == "pallas_tpu_interpret":
    blocks = blocks or SMALL
  else:
    blocks = None
  arrays = {n: x for n, x in options.items() if isinstance(x, jax.Array)}
  statics = tuple((n, x) for n, x in options.items() if n not in arrays)
  both = _compiled(implementation, blocks, statics)
  out, dq, dk, dv, dbias = both(q, k, v, bias, g, info, arrays)
  named = {"out": out, "dq": dq, "dk": dk, "dv": dv}
  if bias.position is not None:
    named["dposition"] = dbias.position
  if bias.time is not None:
    named["dtime"] = dbias.time
  return {n: np.asarray(x.astype(jnp.float32)) for n, x in named.items()}


def assert_close(got, expected, tolerance=3e-6):
  """Largest error against the largest element, per array."""
  for name, x in expected.items():
    scale = np.abs(x).max() + 1e-6
    error = np.abs(got[name] - x).max() / scale
    assert error <= tolerance, (name, error)
