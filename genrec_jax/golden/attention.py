# SPDX-License-Identifier: Apache-2.0
"""Our attention against golden cases of the production layer's masks.

    out = SiLU(alpha q k^T + bias) / max_seq_len * mask @ v

A file holds numbered cases (case0:q, case0:k, ...) of jagged rows. A case may
have tables of both biases, and then says of every token what its role is, where
and when it stands, and how many it sees (roles, positions, times, limits); else
roles follow from counts, and nothing has a time or a bias. Each case
goes through every implementation with all sequences packed into one row, and
through those that are quick to compile with a sequence per row as well. Rows
are padded to one length, so that cases of one window share a program.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import SequenceInfo
from genrec_jax.golden.agreement import Agreement
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention import silu_attention

Arrays = dict[str, np.ndarray]

_SCALARS = (
  "max_seq_len",
  "alpha",
  "contextual_seq_len",
  "max_attn_len",
  "min_full_attn_seq_len",
)
_ARRAYS = ("q", "k", "v", "offsets", "num_targets", "out", "dout")
_GRADIENTS = ("dq", "dk", "dv")
# Cases that have these have all of them.
_TABLES = ("position_table", "time_table")
_TOLD = (*_TABLES, "roles", "positions", "times", "limits")
_TABLE_GRADIENTS = ("dposition_table", "dtime_table")
# (implementation, packed)
_WAYS = (
  ("reference", False),
  ("reference", True),
  ("chunked", False),
  ("chunked", True),
  ("pallas_tpu_interpret", True),
)
_PACKED_MULTIPLE = 128
_KEY = re.compile(r"case(\d+)[:_.](\w+)$")


def holds_cases(data: Arrays) -> bool:
  """Whether a file is of this format."""
  return any(_KEY.match(name) for name in data)


def _gradients(case: Arrays) -> tuple[str, ...]:
  return _GRADIENTS + (_TABLE_GRADIENTS if _TABLES[0] in case else ())


def _cases(data: Arrays, path: str) -> dict[int, Arrays]:
  cases: dict[int, Arrays] = {}
  for name, array in data.items():
    found = _KEY.match(name)
    if found:
      cases.setdefault(int(found[1]), {})[found[2]] = array
  for number, case in cases.items():
    names = (*_SCALARS, *_ARRAYS, *_gradients(case))
    names += _TOLD if _TABLES[0] in case else ()
    lacking = [name for name in names if name not in case]
    if lacking:
      raise ValueError(f"{path}: case {number} lacks {', '.join(lacking)}.")
  return cases


def _places(offsets: np.ndarray, packed: bool):
  """Row and column of every token, and the shape of the rows."""
  lengths = np.diff(offsets)
  sequence = np.repeat(np.arange(len(lengths)), lengths)
  token = np.arange(offsets[-1])
  if packed:
    length = -(-len(token) // _PACKED_MULTIPLE) * _PACKED_MULTIPLE
    return np.zeros_like(token), token, (1, length)
  column = token - offsets[sequence]
  return sequence, column, (len(lengths), max(1, int(lengths.max())))


def _info(case: Arrays, packed: bool):
  offsets = case["offsets"]
  row, column, shape = _places(offsets, packed)
  lengths = np.diff(offsets)
  sequence = np.repeat(np.arange(len(lengths)), lengths)
  position = np.arange(offsets[-1]) - offsets[sequence]
  role = np.full(len(row), EVENT)
  role[position < int(case["contextual_seq_len"])] = CONTEXT
  first_target = (lengths - case["num_targets"])[sequence]
  role[position >= first_target] = TARGET
  told = {"positions": position, "roles": role, "times": np.zeros(len(row))}
  told |= {name: case[name] for name in _TOLD if name in case}

  def spread(values):
    rows = np.zeros(shape, np.int32)
    rows[row, column] = values
    return jnp.asarray(rows)

  times = spread(told["times"])
  info = SequenceInfo(
    spread(sequence + 1),
    spread(told["positions"]),
    times,
    times,
    spread(told["roles"]),
    spread(told["limits"]) if "limits" in told else None,
  )
  return info, (row, column), shape


@functools.cache
def _gradient(implementation: str, scale: float, window: int, full: int):
  """Jitted: the output and the gradients of q, k, v and the tables."""

  @jax.jit
  def both(q, k, v, dout, bias, info, normalizer):
    def attend(q, k, v, bias):
      return silu_attention(
        q,
        k,
        v,
        info,
        normalizer=normalizer,
        bias=bias,
        scale=scale,
        window=window,
        full=full,
        implementation=implementation,
      )

    out, pull = jax.vjp(attend, q, k, v, bias)
    return out, *pull(dout)

  return both


def _run(case: Arrays, implementation: str, packed: bool) -> Arrays:
  info, place, shape = _info(case, packed)

  def spread(x):
    rows = np.zeros((*shape, *x.shape[1:]), x.dtype)
    rows[place] = x
    return jnp.asarray(rows)

  gradient = _gradient(
    implementation,
    float(case["alpha"]),
    int(case["max_attn_len"]),
    int(case["min_full_attn_seq_len"]),
  )
  tables = [jnp.asarray(case[name]) for name in _TABLES if name in case]
  *found, dbias = gradient(
    *(spread(case[name]) for name in ("q", "k", "v", "dout")),
    BiasTables(*tables),
    info,
    jnp.float32(case["max_seq_len"]),
  )
  names = ("out", *_GRADIENTS)
  ours = {n: np.asarray(x)[place] for n, x in zip(names, found, strict=True)}
  if tables:
    given = zip(_TABLE_GRADIENTS, (dbias.position, dbias.time), strict=True)
    ours |= {name: np.asarray(x) for name, x in given}
  return ours


def compare(data: Arrays, path: str) -> list[Agreement]:
  """Output and gradients of all cases by all implementations.

  Raises:
    ValueError: a case lacks an array.
  """
  rows = []
  for number, case in sorted(_cases(data, path).items()):
    for implementation, packed in _WAYS:
      ours = _run(case, implementation, packed)
      at = f"case{number} {implementation}{' packed' * packed} "
      rows += [
        Agreement.of(
          at + name, ours[name], case[name], is_gradient=name != "out"
        )
        for name in ("out", *_gradients(case))
      ]
  return rows
