# SPDX-License-Identifier: Apache-2.0
"""Pointwise attention of HSTU (arXiv 2402.17152, section 3.2) on packed rows.

    y_i = sum over visible j of SiLU(scale q_i k_j + bias_ij) v_j / normalizer

It divides by a constant and masks after the non-linearity, so three matching
events weigh three times one. Implementations:

    reference   every pair in memory; what the others must equal
    chunked     plain JAX, memory linear in length; any device
    pallas_tpu  fused kernels with both biases, on a TPU (pallas_tpu_interpret
                runs their code on any device, to test it)
"""

import functools
import warnings

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.sharding import per_device
from genrec_jax.core.suggest import choices_hint
from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.relative_bias import BiasTables
from genrec_jax.ops.silu_attention.block_sizes import BlockSizes
from genrec_jax.ops.silu_attention.chunked import chunked
from genrec_jax.ops.silu_attention.pallas_tpu import (
  device_kind,
  pallas_tpu,
  plan_for,
  unsupported,
)
from genrec_jax.ops.silu_attention.reference import reference
from genrec_jax.ops.silu_attention.rows import Rows

IMPLEMENTATIONS = (
  "reference",
  "chunked",
  "pallas_tpu",
  "pallas_tpu_interpret",
)


def silu_attention(
  q_BQHK: Float[Array, "B Q H K"],
  k_BMHK: Float[Array, "B M H K"],
  v_BMHA: Float[Array, "B M H A"],
  info: SequenceInfo,
  *,
  normalizer: float | Float[Array, ""] | Float[Array, "B Q"],
  bias: BiasTables | None = None,
  scale: float = 1.0,
  window: int = 0,
  full: int = 0,
  query_index_BQ: Int[Array, "B Q"] | None = None,
  implementation: str | None = None,
  blocks: BlockSizes | None = None,
) -> Float[Array, "B Q H A"]:
  """Pointwise attention; the published model uses scale 1, normalizer n.

  Args:
    q_BQHK: queries; as many as keys, unless query_index_BQ says which.
    k_BMHK: keys.
    v_BMHA: values; their width may differ from that of keys.
    info: the keys' packed rows: segments, positions, times, roles, limits.
      Without roles and limits, positions must count a segment's keys: chunked
      and pallas_tpu take p_j - p_i for j - i.
    normalizer: replaces softmax's denominator: a constant, or one per query.
      No gradient flows to it.
    bias: added to the scores before SiLU.
    scale: multiplies q k^T.
    window: events that a query reaches back, 0 = all (ops/visible_keys.py).
    full: last events of a segment that the window spares.
    query_index_BQ: position in its row of each query (keys may be a cache of
      more events than are asked about), each at most once; -1 for a query
      that is padding.
    implementation: see the module; None takes the best that computes this on
      the platform and warns where that is not the TPU's kernels on a TPU; a
      name that cannot is an error.
    blocks: sizes of the fused kernels' blocks; None takes the chip's.

  Raises:
    ValueError: shapes that do not fit, an unknown implementation, or one that
      cannot run here.
  """
  bias = BiasTables() if bias is None else bias
  bias.check(q_BQHK.shape[2])
  _check(q_BQHK, k_BMHK, v_BMHA, info, normalizer, query_index_BQ)
  name = _choose(implementation, k_BMHK, v_BMHA, info, bias, blocks)
  vectors = q_BQHK, k_BMHK, v_BMHA
  if not name.startswith("pallas_tpu"):
    plain = reference if name == "reference" else chunked
    rows = Rows.of(info, normalizer, window, full, query_index_BQ)
    return plain(*vectors, rows, bias, scale)
  fused = functools.partial(
    _fused,
    bias=bias,
    scale=scale,
    blocks=blocks,
    interpret=name == "pallas_tpu_interpret",
  )
  if query_index_BQ is None:
    return fused(*vectors, Rows.of(info, normalizer, window, full))
  # The kernels take a query per key; blocks without any are skipped. Two
  # queries at one key would be one: NaN, for silence would be wrong.
  length = k_BMHK.shape[1]
  count_BM = _put(jnp.ones_like(query_index_BQ), query_index_BQ, length)
  normalizer_BQ = jnp.broadcast_to(
    jnp.asarray(normalizer, jnp.float32), query_index_BQ.shape
  )
  normalizer_BM = _put(normalizer_BQ, query_index_BQ, length)
  normalizer_BM = jnp.where(count_BM == 1, normalizer_BM, jnp.nan)
  rows = Rows.of(info, normalizer_BM, window, full).only(count_BM > 0)
  q_BMHK = _put(q_BQHK, query_index_BQ, length)
  return _take(fused(q_BMHK, k_BMHK, v_BMHA, rows), query_index_BQ)


def _choose(implementation, k_BMHK, v_BMHA, info, bias, blocks) -> str:
  """The name of an implementation that can run here.

  Raises:
    ValueError: an unknown name, or one that needs another device.
  """
  on_tpu = device_kind().startswith("TPU")
  if implementation is None:
    if not on_tpu:
      return "chunked"
    reason = _lacking(k_BMHK, v_BMHA, info, bias, blocks)
    if reason:
      warnings.warn(
        "attention runs on this TPU as plain JAX, not in its fused kernels:"
        f" they do not take {reason}",
        stacklevel=2,
      )
    return "chunked" if reason else "pallas_tpu"
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f"implementation={implementation!r} is not known."
      f"{choices_hint(implementation, IMPLEMENTATIONS)}"
    )
  if implementation == "pallas_tpu" and not on_tpu:
    raise ValueError(
      f"implementation='pallas_tpu' needs a TPU, and this is {device_kind()}:"
      " use None or 'chunked', or 'pallas_tpu_interpret' to test the kernels."
    )
  return implementation


def _check(q_BQHK, k_BMHK, v_BMHA, info, normalizer, query_index_BQ) -> None:
  """Raises a ValueError where shapes do not belong together."""
  if k_BMHK.shape[:1] + k_BMHK.shape[2:] != q_BQHK.shape[:1] + q_BQHK.shape[2:]:
    raise ValueError(
      f"queries {q_BQHK.shape} and keys {k_BMHK.shape} differ in rows, heads"
      " or width."
    )
  if v_BMHA.shape[:3] != k_BMHK.shape[:3]:
    raise ValueError(
      f"keys {k_BMHK.shape} and values {v_BMHA.shape} differ in rows, length"
      " or heads."
    )
  if info.segment_ids_BL.shape != k_BMHK.shape[:2]:
    raise ValueError(
      f"info is of rows {info.segment_ids_BL.shape}, keys are"
      f" {k_BMHK.shape[:2]}."
    )
  if query_index_BQ is None and q_BQHK.shape[1] != k_BMHK.shape[1]:
    raise ValueError(
      f"{q_BQHK.shape[1]} queries and {k_BMHK.shape[1]} keys per row: say"
      " where the queries are by query_index_BQ."
    )
  if query_index_BQ is not None and query_index_BQ.shape != q_BQHK.shape[:2]:
    raise ValueError(
      f"query_index_BQ is {query_index_BQ.shape}, queries are"
      f" {q_BQHK.shape[:2]}."
    )
  if isinstance(normalizer, float | int) and not normalizer > 0:
    raise ValueError(f"normalizer={normalizer} must be positive.")


def _fused(q_BMHK, k, v, rows, *, bias, scale, blocks, interpret):
  """The kernels, each device on its rows and, where it can, its heads."""
  # Slopes are constants of all heads.
  heads = "" if bias.slopes else "heads"
  vectors = "rows and heads" if heads else "rows"
  tables = jax.tree.map(lambda t: heads if t.ndim == 2 else "", bias)
  return per_device(
    lambda *args: pallas_tpu(*args, scale, blocks, interpret),
    (vectors, vectors, vectors, "rows", tables),
    *(q_BMHK, k, v, rows, bias),
  )


def _lacking(k_BMHK, v_BMHA, info, bias, blocks) -> str:
  """What the kernels do not take of this; '' if they compute it."""
  reason = unsupported(bias)
  if reason:
    return reason
  aligned = info.roles_BL is None and info.limits_BL is None
  try:
    plan_for(k_BMHK, v_BMHA, bias, blocks, aligned)
  except ValueError as error:
    return f"rows of {k_BMHK.shape[1]}: {error}"
  return ""


def _put(x_BQ, index_BQ, length):
  """Sums of queries at their places in rows of all keys, 0 elsewhere."""

  def one(x, index):
    # Index -1 is out of bounds too: dropped.
    place = jnp.where(index >= 0, index, length)
    zeros = jnp.zeros((length, *x.shape[1:]), x.dtype)
    return zeros.at[place].add(x, mode="drop")

  return jax.vmap(one)(x_BQ, index_BQ)


def _take(x_BM, index_BQ):
  """What stands at the places of queries, 0 for those that are padding."""
  x_BQ = jax.vmap(lambda x, index: x[index])(x_BM, jnp.maximum(index_BQ, 0))
  return jnp.where((index_BQ >= 0)[:, :, None, None], x_BQ, 0)
