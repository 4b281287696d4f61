# SPDX-License-Identifier: Apache-2.0
"""Looking rows of a table up, whether one device holds it or all do.

    vectors[...] = table[ids[...]]

A table is a plain array (rows, D), or a RowShards: the same array split by rows
over mesh axes. Then each device looks up the ids that it holds by an exchange
with the owners (ops/row_exchange.py), and the gradient goes back the same way
into the owners' rows. No device ever has the whole table, or all its gradient.

With a tape not even the owner's share of a gradient exists. A Tape notes the
ids of every lookup and adds a zero to its result: the derivative with respect
to that zero is the gradient of the rows looked up, which is all that a row-wise
optimizer needs (train/tables.py).
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Shaped

from genrec_jax.ops.row_exchange import NOWHERE, exchange_over


class Tape:
  """Notes the lookups of one table while a function is traced.

  Attributes:
    ids: of each lookup, in the order in which they were traced.
    vectors: of each lookup, without the deltas.
  """

  def __init__(self, deltas: list[Array] | None = None):
    """deltas: what to add to each lookup's result; None adds nothing."""
    self._deltas = deltas
    self.ids: list[Array] = []
    self.vectors: list[Array] = []

  def note(self, ids: Array, vectors: Array) -> Array:
    """The vectors plus their delta; remembers the ids."""
    self.ids.append(ids)
    self.vectors.append(vectors)
    vectors = jax.lax.stop_gradient(vectors)
    if self._deltas is None:
      return vectors
    return vectors + self._deltas[len(self.ids) - 1]


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["rows"],
  meta_fields=["mesh", "axes", "tape"],
)
@dataclasses.dataclass(frozen=True)
class RowShards:
  """A table as a module meets it in place of the array.

  Attributes:
    rows: the whole table (rows, D), an array split over devices.
    mesh: the devices.
    axes: mesh axes that the rows are split over; () where they are not.
    tape: notes the lookups; None lets gradients flow into `rows`.
  """

  rows: Shaped[Array, "R D"]
  mesh: Mesh | None = None
  axes: tuple[str, ...] = ()
  tape: Tape | None = None


def embedding_lookup(
  table: Any, ids: Int[Array, "*shape"]
) -> Shaped[Array, "*shape D"]:
  """Rows of a table (an array, or a RowShards) by id."""
  if not isinstance(table, RowShards):
    return table[ids]
  if table.axes:
    vectors = sharded_lookup(table.rows, ids, table.mesh, table.axes)
  else:
    vectors = table.rows[ids]
  return vectors if table.tape is None else table.tape.note(ids, vectors)


def whole_table(table: Any) -> Shaped[Array, "R D"]:
  """All rows, split over devices as they are."""
  return table.rows if isinstance(table, RowShards) else table


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def sharded_lookup(
  rows_RD: Shaped[Array, "R D"],
  ids: Int[Array, "*shape"],
  mesh: Mesh,
  axes: tuple[str, ...],
) -> Shaped[Array, "*shape D"]:
  """table[ids] with the table's rows split over axes of the mesh.

  The devices share the ids evenly. An id beyond the table gives NaN.
  """
  exchange = exchange_over(axes, mesh, rows_RD.shape[0])
  spec = PartitionSpec(axes)
  vectors_ND = jax.shard_map(
    exchange.fetch,
    mesh=mesh,
    in_specs=(spec, spec),
    out_specs=spec,
    check_vma=False,
  )(rows_RD, _flat_ids(ids, exchange.num_devices))
  return vectors_ND[: ids.size].reshape(*ids.shape, rows_RD.shape[1])


def _lookup_forward(rows_RD, ids, mesh, axes):
  return sharded_lookup(rows_RD, ids, mesh, axes), (rows_RD, ids)


def _lookup_backward(mesh, axes, residuals, grad):
  rows_RD, ids = residuals
  exchange = exchange_over(axes, mesh, rows_RD.shape[0])
  spec = PartitionSpec(axes)

  def local(shard_RD, ids_n, grad_nD):
    def add(total_RD, local_k, grad_kD):
      return total_RD.at[local_k].add(grad_kD, mode="drop")

    return exchange.deliver(ids_n, grad_nD, add, jnp.zeros_like(shard_RD))

  ids_N = _flat_ids(ids, exchange.num_devices)
  gradient_RD = jax.shard_map(
    local, mesh=mesh, in_specs=(spec,) * 3, out_specs=spec, check_vma=False
  )(rows_RD, ids_N, _flat_rows(grad, ids_N.shape[0]))
  return gradient_RD, None


sharded_lookup.defvjp(_lookup_forward, _lookup_backward)


def _flat_ids(ids: Int[Array, "*shape"], parts: int) -> Int[Array, "N"]:
  """All ids in a row whose length `parts` divides."""
  missing = -ids.size % parts
  return jnp.pad(ids.reshape(-1), (0, missing), constant_values=NOWHERE)


def _flat_rows(
  vectors: Float[Array, "*shape D"], count: int
) -> Float[Array, "N D"]:
  """All vectors in a row of `count`; zeros fill it up."""
  flat_ND = vectors.reshape(-1, vectors.shape[-1])
  return jnp.pad(flat_ND, ((0, count - flat_ND.shape[0]), (0, 0)))


def update_rows(
  update: Any,
  rows_RD: Float[Array, "R D"],
  moments: Any,
  lookups: list[tuple[Array, Array]],
  mesh: Mesh | None,
  axes: tuple[str, ...],
) -> tuple[Float[Array, "R D"], Any, Float[Array, ""]]:
  """Applies a row-wise optimizer to the rows that lookups touched.

  Gradients of equal ids are summed first, over lookups and devices: a row is
  updated once. Row 0 (padding) is never touched.

  Args:
    update: (rows_kD, grad_kD, moments of these rows) -> (rows, moments).
    rows_RD: the table.
    moments: a tree of arrays with R as their leading dimension.
    lookups: ids and gradients (the ids' shape, then D) of every lookup.
    mesh: the devices; unused where axes is ().
    axes: mesh axes that the rows are split over.

  Returns:
    Table and moments, and the sum of squares of the table's gradient.
  """
  exchange = exchange_over(axes, mesh, rows_RD.shape[0])
  spec, devices = PartitionSpec(axes), exchange.num_devices
  all_ids = [_flat_ids(ids, devices) for ids, _ in lookups]
  all_grads = [
    _flat_rows(grad, len(ids))
    for ids, (_, grad) in zip(all_ids, lookups, strict=True)
  ]

  def local(shard_RD, moments, ids, grads):
    first = jax.lax.axis_index(axes) * shard_RD.shape[0] if axes else 0

    def take(carry, local_k, grad_kD):
      shard_RD, moments, squares = carry
      local_k = jnp.where(local_k + first == 0, shard_RD.shape[0], local_k)
      here_k1 = (local_k < shard_RD.shape[0])[:, None]
      grad_kD = jnp.where(here_k1, grad_kD.astype(jnp.float32), 0)

      def get(x):
        return x.at[local_k].get(mode="fill", fill_value=0)

      def put(x, new):
        return x.at[local_k].set(new.astype(x.dtype), mode="drop")

      new_kD, new_moments = update(
        get(shard_RD), grad_kD, jax.tree.map(get, moments)
      )
      squares = squares + jnp.sum(jnp.square(grad_kD))
      moments = jax.tree.map(put, moments, new_moments)
      return put(shard_RD, new_kD), moments, squares

    shard_RD, moments, squares = exchange.deliver(
      jnp.concatenate(ids),
      jnp.concatenate(grads),
      take,
      (shard_RD, moments, jnp.float32(0)),
    )
    return shard_RD, moments, jax.lax.psum(squares, axes) if axes else squares

  if not axes:
    return local(rows_RD, moments, all_ids, all_grads)
  return jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(spec, spec, spec, spec),
    out_specs=(spec, spec, PartitionSpec()),
    check_vma=False,
  )(rows_RD, moments, all_ids, all_grads)
