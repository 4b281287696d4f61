# SPDX-License-Identifier: Apache-2.0
"""Makes golden cases of attention with roles, places and both biases.

    python tests/golden/make_role_reference.py tests/golden      # needs numpy

Written from the rules alone, pair by pair in float64, with gradients by hand;
it shares no code, no mask and no framework with genrec_jax. A sequence is a
context, events of requests, and candidates: a context token sees the context,
every other event what came before its request, the rest all before them, a
candidate all before its request; each sees itself. What is asked about stands
at the place and time of its request. In `whole` cases events see all events.
"""

import math
import pathlib
import sys

import numpy as np

_UNKNOWN = -(2**30)


def _sequence(rng, context, events, targets, whole):
  """Rows of (position, time, limit, role) and (n, n) of who sees whom."""
  rows, first = [], 0
  times = np.sort(np.exp(rng.uniform(2, 17, events + 1)).astype(int))
  for i in range(context):
    rows.append((i, _UNKNOWN, context, 1))
  for i in range(events):
    first = i if rng.random() < 0.3 else first
    at, limit = (first, context + first) if i % 2 == 0 else (i, -1)
    limit = context + events if whole else limit
    rows.append((context + at, times[at], limit, 0))
  for _ in range(targets):
    at = int(rng.integers(0, events + 1))
    rows.append((context + at, times[at], context + at, 2))
  count = len(rows)
  sees = np.eye(count, dtype=bool)
  for i, (_, _, limit, _) in enumerate(rows):
    sees[i, : i if limit < 0 else limit] = True
  return np.array(rows), sees


def _bucket(seconds):
  return int(math.floor(np.log(np.float32(max(1, abs(seconds)))) / 0.301))


def _attend(case, start, rows, sees):
  """Adds one sequence's part of outputs and gradients, pair by pair."""
  reach = len(case["position_table"]) // 2
  for i, j in np.argwhere(sees):
    offset = int(np.clip(rows[j, 0] - rows[i, 0], -reach, reach)) + reach
    bucket = min(_bucket(int(rows[i, 1] - rows[j, 1])), 128)
    bias = case["position_table"][offset] + case["time_table"][bucket]
    a, b = start + i, start + j
    for h in range(case["q"].shape[1]):
      q, k, v = case["q"][a, h], case["k"][b, h], case["v"][b, h]
      s = case["alpha"] * (q @ k) + bias
      sigma = 1 / (1 + math.exp(-s))
      dout = case["dout"][a, h] / case["max_seq_len"]
      case["out"][a, h] += s * sigma * v / case["max_seq_len"]
      case["dv"][b, h] += s * sigma * dout
      ds = (dout @ v) * sigma * (1 + s * (1 - sigma))
      case["dq"][a, h] += case["alpha"] * ds * k
      case["dk"][b, h] += case["alpha"] * ds * q
      case["dposition_table"][offset] += ds
      case["dtime_table"][bucket] += ds


def _case(rng, sizes, whole, reach):
  heads, width, value_width = 2, 6, 10
  count = sum(map(sum, sizes))

  def values(*shape, scale=1.0):
    return rng.normal(0, scale, shape).astype(np.float32).astype(float)

  case = {
    "q": values(count, heads, width),
    "k": values(count, heads, width),
    "v": values(count, heads, value_width),
    "dout": values(count, heads, value_width),
    "position_table": values(2 * reach - 1),
    "time_table": values(129),
    "alpha": 0.5,
    "max_seq_len": 16,
  }
  case |= {
    "out" if name == "dout" else f"d{name}": np.zeros_like(case[name])
    for name in ("q", "k", "v", "dout", "position_table", "time_table")
  }
  parts, start = [], 0
  for size in sizes:
    rows, sees = _sequence(rng, *size, whole)
    _attend(case, start, rows, sees)
    parts.append(rows)
    start += len(rows)
  facts = np.concatenate(parts).T
  names = ("positions", "times", "limits", "roles")
  whole_numbers = dict(zip(names, facts, strict=True))
  whole_numbers |= {
    "offsets": np.cumsum([0, *map(sum, sizes)]),
    "num_targets": np.array([n for _, _, n in sizes]),
    "contextual_seq_len": np.array(0),
    "max_attn_len": np.array(0),
    "min_full_attn_seq_len": np.array(0),
    "max_seq_len": np.array(case.pop("max_seq_len")),
  }
  small = {name: np.asarray(x, np.float32) for name, x in case.items()}
  return whole_numbers | small


if __name__ == "__main__":
  rng = np.random.default_rng(15)
  cases = (
    _case(rng, [(2, 17, 5), (0, 9, 0), (3, 0, 2), (1, 30, 4)], False, 24),
    _case(rng, [(1, 21, 3), (2, 12, 6)], True, 64),
  )
  np.savez_compressed(
    pathlib.Path(sys.argv[1]) / "attention_roles.npz",
    **{f"case{n}:{k}": x for n, c in enumerate(cases) for k, x in c.items()},
  )
