# SPDX-License-Identifier: Apache-2.0
"""Codes that are used alike: entropic optimal transport to equal shares.

    d    <- (d - mid) / half range                          in [-1, 1]
    plan = exp(-d / softness + u_N + v_C),   rows sum to 1, columns to N / C
    code = argmax_C plan

or, with a capacity, columns to at most that: then v_C <= 0, and a code that
nobody else wants costs what it costs.

"Uniform semantic mapping" of LC-Rec (arXiv 2311.09049), softness .003 and 50
rounds there. In the log domain, where float32 does what takes double precision
on plain numbers. Equal rows get equal codes: no plan can part them.
Shapes: N vectors, C codes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def sinkhorn(
  distances_NC: Float[Array, "N C"],
  *,
  softness: float,
  rounds: int,
  capacity: float | None = None,
  where_N: Bool[Array, "N"] | None = None,
) -> Float[Array, "N C"]:
  """Logarithm of the plan; its last round made the columns right.

  Args:
    distances_NC: what each code costs each vector.
    softness: of the plan, for distances between -1 and 1.
    rounds: of scaling rows, then columns.
    capacity: the most that a column sums to; None: each to its equal share.
    where_N: rows that count; the others' plan means nothing.
  """
  if where_N is None:
    where_N = jnp.ones(distances_NC.shape[0], bool)
  where_N1 = where_N[:, None]
  low = jnp.min(jnp.where(where_N1, distances_NC, jnp.inf))
  high = jnp.max(jnp.where(where_N1, distances_NC, -jnp.inf))
  half = jnp.maximum((high - low) / 2, jnp.finfo(jnp.float32).tiny)
  centred_NC = (distances_NC - (high + low) / 2) / half
  log_NC = jnp.where(where_N1, -centred_NC / softness, 0.0)
  log_share = jnp.log(jnp.sum(where_N) / distances_NC.shape[1])

  def step(_, v_C):
    u_N = -jax.nn.logsumexp(log_NC + v_C[None, :], axis=1)
    taken_C = jax.nn.logsumexp(log_NC + u_N[:, None], axis=0, where=where_N1)
    if capacity is not None:
      return jnp.minimum(jnp.log(capacity) - taken_C, 0.0)
    return log_share - taken_C

  v_C = jnp.zeros(distances_NC.shape[1])
  v_C = jax.lax.fori_loop(0, rounds - 1, step, v_C)
  u_N = -jax.nn.logsumexp(log_NC + v_C[None, :], axis=1)
  v_C = step(0, v_C)
  return log_NC + u_N[:, None] + v_C[None, :]


def sinkhorn_codes(
  distances_NC: Float[Array, "N C"],
  *,
  softness: float,
  rounds: int,
  capacity: float | None = None,
  where_N: Bool[Array, "N"] | None = None,
) -> Int[Array, "N"]:
  """The code of each vector by the plan; arguments as in sinkhorn."""
  plan_NC = sinkhorn(
    distances_NC,
    softness=softness,
    rounds=rounds,
    capacity=capacity,
    where_N=where_N,
  )
  return jnp.argmax(plan_NC, axis=1).astype(jnp.int32)
