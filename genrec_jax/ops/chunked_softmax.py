# SPDX-License-Identifier: Apache-2.0
"""Softmax attention with memory linear in length, over keys in several parts.

    y_i = sum_j p_ij v_j        p_ij = exp(s_ij - lse_i),   s_ij = scale q_i k_j
    lse_i = log sum_j exp(s_ij)         over the keys with since_j <= until_i

Who sees whom is two integers (ops/sight.py gives them their meaning). Keys come
a block at a time, with a running maximum and sum (Dao et al., NeurIPS 2022);
the backward pass keeps y and lse and computes the scores again:

    dS = P (dy V^T - <dy, y> + dlse)    dV = P^T dy    dQ, dK of dS as ever

`joined` puts parts together that were read one by one, such as keys that many
queries share and those of each:

    y = sum_p exp(lse_p - m) y_p / sum_p exp(lse_p - m),    m = max_p lse_p

Scores, weights and results are float32 whatever the dtype of the vectors.
"""

from collections.abc import Sequence
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.ops.sight import UNSEEN

# Keys of a block; fewer keys are one block.
BLOCK = 512
# Finite, for differences of it must be numbers.
_FLOOR = -1e30

# What queries read of a part of the keys, and the log of its weight.
Part = tuple[Float[Array, "B Q H A"], Float[Array, "B Q H"]]


def attend(
  q_BQHE: Float[Array, "B Q H E"],
  k_BMHE: Float[Array, "B M H E"],
  v_BMHA: Float[Array, "B M H A"],
  until_BQ: Int[Array, "B Q"],
  since_BM: Int[Array, "B M"],
  *,
  scale: float = 1.0,
  block: int = BLOCK,
) -> Part:
  """y and lse, float32; 0 and about -1e30 where a query sees nothing.

  Args:
    q_BQHE: queries.
    k_BMHE: keys.
    v_BMHA: values.
    until_BQ: a query sees the keys from moments up to its own.
    since_BM: moments of the keys.
    scale: multiplies q k^T.
    block: keys at a time, at most.

  Raises:
    ValueError: there are no keys, or blocks of none.
  """
  if not k_BMHE.shape[1] or block < 1:
    raise ValueError(
      f"attention over {k_BMHE.shape[1]} keys, {block} at a time: there must"
      " be one at least."
    )
  return _attend(scale, block, q_BQHE, k_BMHE, v_BMHA, until_BQ, since_BM)


def joined(parts: Sequence[Part]) -> Float[Array, "B Q H A"]:
  """What queries read of all parts together; 0 where they see nothing."""
  lse = jnp.stack([part[1] for part in parts])
  # What they are measured by is no part of the result.
  most = lax.stop_gradient(jnp.max(lse, axis=0, keepdims=True))
  weights = jnp.exp(lse - most)
  total = jnp.sum(weights, axis=0)[..., None]
  read = jnp.stack([part[0] for part in parts])
  return jnp.sum(weights[..., None] * read, axis=0) / total


def _blocks(block, k, v, since):
  """Keys, values and moments of each block, (count, B, size, ...)."""
  length = k.shape[1]
  count = -(-length // block)
  size = -(-length // count)

  def cut(x, value=0):
    widths = [(0, 0), (0, count * size - length)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, widths, constant_values=value)
    return jnp.moveaxis(x.reshape(len(x), count, size, *x.shape[2:]), 1, 0)

  return cut(k), cut(v), cut(since, UNSEEN)


def _over_blocks(body, carry, blocks):
  """lax.scan, without a loop where there is one block."""
  if len(blocks[0]) > 1:
    return lax.scan(body, carry, blocks)
  carry, out = body(carry, [x[0] for x in blocks])
  return carry, jax.tree.map(lambda x: x[None], out)


def _scores(scale, q, k, until, since):
  """Scores (B, H, Q, M) in float32, and which of them count."""
  seen = since[:, None, None, :] <= until[:, None, :, None]
  return scale * _product("bqhe,bmhe->bhqm", q, k), seen


def _product(spec, x, y):
  return jnp.einsum(spec, x, y, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(scale, block, q, k, v, until, since):
  rows, queries, heads, _ = q.shape

  def add(carry, keys):
    most, total, y = carry
    k, v, since = keys
    scores, seen = _scores(scale, q, k, until, since)
    scores = jnp.where(seen, scores, _FLOOR)
    now = jnp.maximum(most, jnp.max(scores, axis=-1))
    p = jnp.where(seen, jnp.exp(scores - now[..., None]), 0)
    kept = jnp.exp(most - now)
    read = _product("bhqm,bmha->bhqa", p.astype(v.dtype), v)
    total = total * kept + jnp.sum(p, axis=-1)
    return (now, total, y * kept[..., None] + read), None

  shape = (rows, heads, queries)
  start = (
    jnp.full(shape, _FLOOR),
    jnp.zeros(shape),
    jnp.zeros((*shape, v.shape[-1])),
  )
  (most, total, y), _ = _over_blocks(add, start, _blocks(block, k, v, since))
  something = total > 0
  total = jnp.where(something, total, 1)
  lse = jnp.where(something, most + jnp.log(total), _FLOOR)
  return jnp.moveaxis(y / total[..., None], 1, 2), jnp.moveaxis(lse, 1, 2)


def _attend_fwd(scale, block, q, k, v, until, since):
  y, lse = _attend(scale, block, q, k, v, until, since)
  return (y, lse), (q, k, v, until, since, y, lse)


def _attend_bwd(scale, block, residuals, grads):
  q, k, v, until, since, y, lse = residuals
  dy, dlse = grads
  added = jnp.moveaxis(dlse - jnp.sum(dy * y, axis=-1), 2, 1)[..., None]
  lse = jnp.moveaxis(lse, 2, 1)[..., None]
  low = dy.astype(v.dtype)

  def add(dq, keys):
    k, v, since = keys
    scores, seen = _scores(scale, q, k, until, since)
    p = jnp.exp(jnp.where(seen, scores - lse, _FLOOR))
    ds = p * (_product("bqha,bmha->bhqm", low, v) + added)
    ds, p = scale * ds.astype(q.dtype), p.astype(v.dtype)
    dk = _product("bhqm,bqhe->bmhe", ds, q)
    dv = _product("bhqm,bqha->bmha", p, low)
    return dq + _product("bhqm,bmhe->bqhe", ds, k), (dk, dv)

  zeros = jnp.zeros(q.shape, jnp.float32)
  dq, blocks = _over_blocks(add, zeros, _blocks(block, k, v, since))

  def whole(x, like):
    x = jnp.moveaxis(x, 0, 1)
    x = x.reshape(len(x), -1, *x.shape[3:])
    return x[:, : like.shape[1]].astype(like.dtype)

  dk, dv = (whole(x, like) for x, like in zip(blocks, (k, v), strict=True))
  return dq.astype(q.dtype), dk, dv, None, None


_attend.defvjp(_attend_fwd, _attend_bwd)
