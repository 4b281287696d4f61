# SPDX-License-Identifier: Apache-2.0
"""A memory of vectors by id: state in, state out.

    vectors (R, D)   what was written last for each id; row = id
    written (R,)     the tick at which it was; 0 = never
    clock ()         ticks so far; every write is one

    bank = write(bank, ids, vectors, where)     of equal ids the last counts
    vectors, known = read(bank, ids, max_age)

The age of an id is clock - written: 0 right after its write, and one more with
every write after that. A write changes the rows of its ids and the clock, and
no bit of any other row. What is written is a constant: no gradient goes into a
bank or comes out of one. Id 0 is padding, and is never written.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bank:
  """See the module docstring; vectors float32, the others int32."""

  vectors: Any
  written: Any
  clock: Any

  @classmethod
  def empty(cls, rows: int, width: int) -> "Bank":
    """One that nothing was written to."""
    return cls(
      jnp.zeros((rows, width), jnp.float32),
      jnp.zeros((rows,), jnp.int32),
      jnp.zeros((), jnp.int32),
    )


def num_bytes(rows: int, width: int) -> int:
  """What a bank takes, in bytes."""
  return 4 * (rows * (width + 1) + 1)


def write(
  bank: Bank,
  ids_N: Int[Array, "N"],
  vectors_ND: Float[Array, "N D"],
  where_N: Bool[Array, "N"],
) -> Bank:
  """The bank with these vectors.

  Args:
    bank: stays as it is.
    ids_N: below R, in any order; of equal ones the last is written.
    vectors_ND: of each.
    where_N: which of them are written.
  """
  rows = bank.vectors.shape[0]
  # Row R is nobody's.
  ids_N = jnp.where(where_N & (ids_N > 0), ids_N, rows)
  # A scatter with equal places has no order.
  place_N = jnp.where(_last_of_equal(ids_N), ids_N, rows)
  vectors_ND = jax.lax.stop_gradient(vectors_ND.astype(jnp.float32))
  clock = bank.clock + 1
  return Bank(
    bank.vectors.at[place_N].set(vectors_ND, mode="drop"),
    bank.written.at[place_N].set(clock, mode="drop"),
    clock,
  )


def read(
  bank: Bank, ids: Int[Array, "*b"], max_age: int | None = None
) -> tuple[Float[Array, "*b D"], Bool[Array, "*b"]]:
  """Vectors of ids as constants, and which of them are known.

  Args:
    bank: to read.
    ids: 0 is padding, and never known.
    max_age: what is older is not known; None = nothing is too old.
  """
  known = (bank.written[ids] > 0) & (ids > 0)
  if max_age is not None:
    known = known & (age(bank, ids) <= max_age)
  return jax.lax.stop_gradient(bank.vectors[ids]), known


def age(bank: Bank, ids: Int[Array, "*b"]) -> Int[Array, "*b"]:
  """Writes since the ids' own; of one never written, all there were."""
  return bank.clock - bank.written[ids]


def _last_of_equal(ids_N: Int[Array, "N"]) -> Bool[Array, "N"]:
  """Which entries no equal one follows."""
  order_N = jnp.argsort(ids_N, stable=True)
  sorted_N = ids_N[order_N]
  end = jnp.ones((1,), bool)
  last_N = jnp.concatenate([sorted_N[1:] != sorted_N[:-1], end])
  return jnp.zeros(ids_N.shape, bool).at[order_N].set(last_N)
