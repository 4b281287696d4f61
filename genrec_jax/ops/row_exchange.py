# SPDX-License-Identifier: Apache-2.0
"""Moving rows of a table that is split over devices, and only those asked for.

Device o of M holds rows [o R, (o + 1) R). Each device has its own list of ids:

    1  equal ids are merged (a popular item travels once),
    2  ids go to the devices that own them, rows or gradients come or go,
    3  by all-to-all through buffers of (M, capacity), in as many rounds as the
       fullest buffer needs: one where ids are spread evenly.

Every occurrence of a row, whichever device asks, falls into the same round
(its number in the owner's share modulo the rounds), so an owner sees the whole
gradient of a row at once. Whatever the ids, nothing is dropped; memory is that
of the buffers, about twice the rows a device asks for. The functions are called
inside jax.shard_map; with axes=() there is one owner and nothing travels.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

# Room for uneven ids in a buffer: 2 n / M + 16 of n ids.
_SLACK, _SPARE = 2, 16
# An id that no table has: tables have fewer than 2^31 rows.
NOWHERE = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Exchange:
  """Who owns what.

  Attributes:
    axes: mesh axes that the rows are split over.
    num_devices: M, the product of their sizes.
    rows_per_device: R.
  """

  axes: tuple[str, ...]
  num_devices: int
  rows_per_device: int

  def _swap(self, x_MC: Array) -> Array:
    """Block o of every device goes to device o."""
    if self.num_devices == 1:
      return x_MC
    return lax.all_to_all(x_MC, self.axes, 0, 0, tiled=True)

  def _plan(self, ids_n: Int[Array, "n"]) -> "_Plan":
    # Distinct ids ascend: each owner's are one run, those unknown come last.
    unique_n, inverse_n = merge(jnp.where(ids_n < 0, NOWHERE, ids_n))
    devices, rows = self.num_devices, self.rows_per_device
    known_n = unique_n < devices * rows
    safe_n = jnp.where(known_n, unique_n, 0)
    owner_n = jnp.where(known_n, safe_n // rows, devices)
    even = -(-ids_n.shape[0] // devices)
    capacity = min(ids_n.shape[0], _SLACK * even + _SPARE)
    plan = _Plan(owner_n, safe_n % rows, known_n, inverse_n, capacity, devices)
    if capacity == ids_n.shape[0]:
      return plan

    def with_excess(rounds):
      def fuller(r, worst):
        return jnp.maximum(worst, jnp.max(plan.slots(r, rounds)[1]))

      last_slot = lax.fori_loop(0, rounds, fuller, jnp.int32(0))
      return rounds, lax.pmax(last_slot, self.axes) >= capacity

    rounds, _ = lax.while_loop(
      lambda carry: carry[1],
      lambda carry: with_excess(2 * carry[0]),
      with_excess(jnp.int32(1)),
    )
    return dataclasses.replace(plan, rounds=rounds)

  def fetch(
    self, shard_RD: Shaped[Array, "R D"], ids_n: Int[Array, "n"]
  ) -> Shaped[Array, "n D"]:
    """Rows of this device's ids; NaN for an id that no device owns.

    Of a table of integers, 0.
    """
    plan = self._plan(ids_n)

    def one_round(r, rows_nD):
      mine_n, slot_n = plan.slots(r, plan.rounds)
      nothing = self.rows_per_device
      asked_MC = self._swap(plan.fill(mine_n, slot_n, plan.local_n, nothing))
      found = shard_RD.at[asked_MC].get(mode="fill", fill_value=0)
      # By 1, which the compiler cannot know: on a TPU, rows used in bfloat16
      # alone would otherwise be taken from a converted copy of the whole share.
      found = found * (asked_MC >= 0)[..., None].astype(found.dtype)
      found = self._swap(found)
      got_nD = found.at[plan.owner_n, slot_n].get(mode="fill", fill_value=0)
      return jnp.where(mine_n[:, None], got_nD, rows_nD)

    shape = (ids_n.shape[0], shard_RD.shape[1])
    real = jnp.issubdtype(shard_RD.dtype, jnp.floating)
    rows_nD = jnp.full(shape, jnp.nan if real else 0, shard_RD.dtype)
    rows_nD = lax.fori_loop(0, plan.rounds, one_round, rows_nD)
    return rows_nD[plan.inverse_n]

  def deliver(
    self,
    ids_n: Int[Array, "n"],
    grad_nD: Float[Array, "n D"],
    take: Callable[[Any, Array, Array], Any],
    start: Any,
  ) -> Any:
    """Brings gradients to the owners and folds `take` over the rounds.

    Args:
      ids_n: rows that this device has gradients of.
      grad_nD: the gradients; equal ids are summed.
      take: (carry, local_k, grad_kD) -> carry, on the owner: rows of its share
        (each at most once in all rounds; R where there is none) and their
        gradients, summed over devices.
      start: first carry.
    """
    plan = self._plan(ids_n)
    count, width = grad_nD.shape
    summed_nD = jax.ops.segment_sum(grad_nD, plan.inverse_n, num_segments=count)

    def one_round(r, carry):
      mine_n, slot_n = plan.slots(r, plan.rounds)
      nothing = self.rows_per_device
      local_k = self._swap(plan.fill(mine_n, slot_n, plan.local_n, nothing))
      grad_kD = self._swap(plan.fill(mine_n, slot_n, summed_nD, 0))
      local_k, grad_kD = local_k.reshape(-1), grad_kD.reshape(-1, width)
      if self.num_devices > 1:
        unique_k, inverse_k = merge(local_k, absent=nothing)
        grad_kD = jax.ops.segment_sum(
          grad_kD, inverse_k, num_segments=inverse_k.shape[0]
        )
        local_k = unique_k
      return take(carry, local_k, grad_kD)

    return lax.fori_loop(0, plan.rounds, one_round, start)


@dataclasses.dataclass(frozen=True)
class _Plan:
  """Where this device's distinct ids go.

  Attributes:
    owner_n: device that owns each distinct id; M where there is none.
    local_n: its row in the owner's share.
    known_n: whether the place holds an id.
    inverse_n: place of each original id among the distinct ones.
    capacity: ids that one round brings to one owner.
    num_devices: M.
    rounds: how many are needed.
  """

  owner_n: Int[Array, "n"]
  local_n: Int[Array, "n"]
  known_n: Bool[Array, "n"]
  inverse_n: Int[Array, "n"]
  capacity: int
  num_devices: int
  rounds: Any = 1

  def slots(self, r, rounds) -> tuple[Array, Array]:
    """Which ids travel in round r, and their places in their buffers."""
    mine_n = self.known_n & (self.local_n % rounds == r)
    before_n = jnp.cumsum(mine_n.astype(jnp.int32))
    # Ids of one owner are a run: count from where the run starts.
    starts_M = jnp.searchsorted(self.owner_n, jnp.arange(self.num_devices))
    base_M = jnp.where(starts_M > 0, before_n[jnp.maximum(starts_M - 1, 0)], 0)
    base_n = base_M[jnp.minimum(self.owner_n, self.num_devices - 1)]
    return mine_n, jnp.where(mine_n, before_n - 1 - base_n, 0)

  def fill(self, mine_n, slot_n, value_n, empty) -> Array:
    """Buffers (M, capacity, ...) of the values that travel now."""
    shape = (self.num_devices, self.capacity, *value_n.shape[1:])
    owner_n = jnp.where(mine_n, self.owner_n, self.num_devices)
    buffer = jnp.full(shape, empty, value_n.dtype)
    return buffer.at[owner_n, slot_n].set(value_n, mode="drop")


def merge(
  ids_n: Int[Array, "n"], absent: int = NOWHERE
) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
  """Distinct ids in ascending order, and each id's place among them.

  Args:
    ids_n: ids, in any order.
    absent: fills the places behind the last distinct id.
  """
  order_n = jnp.argsort(ids_n)
  sorted_n = ids_n[order_n]
  first_n = jnp.concatenate(
    [jnp.ones((1,), bool), sorted_n[1:] != sorted_n[:-1]]
  )
  place_n = jnp.cumsum(first_n.astype(jnp.int32)) - 1
  unique_n = jnp.full_like(ids_n, absent).at[place_n].set(sorted_n)
  inverse_n = jnp.zeros_like(place_n).at[order_n].set(place_n)
  return unique_n, inverse_n


def exchange_over(axes: tuple[str, ...], mesh: Any, num_rows: int) -> Exchange:
  """The exchange of a table of num_rows rows split over axes of a mesh."""
  devices = math.prod(mesh.shape[axis] for axis in axes)
  if num_rows % devices:
    raise ValueError(
      f"a table of {num_rows} rows cannot be split over {devices} devices;"
      f" use {-(-num_rows // devices) * devices} rows."
    )
  return Exchange(axes, devices, num_rows // devices)
