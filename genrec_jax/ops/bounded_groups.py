# SPDX-License-Identifier: Apache-2.0
"""Groups of vectors whose sizes lie between bounds.

    centers by k-means (ops/kmeans.py), then each vector in turn, those nearest
    to a center first, goes to the nearest group that may take one

A group may take one while it has fewer than `largest`, and, where as many
vectors are left as groups lack to `smallest`, only those that lack. So bounds
always hold; of all partitions within them it need not be the cheapest
(ops/equal_parts.py is, on the host). Inside jit, in C steps.
Shapes: C vectors of width D, G groups.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.ops.kmeans import kmeans, squared_distances


def bounded_groups(
  vectors_CD: Float[Array, "C D"],
  key: Key[Array, ""],
  *,
  num_groups: int,
  smallest: int,
  largest: int,
  iterations: int = 20,
) -> Int[Array, "C"]:
  """The group of each vector.

  Args:
    vectors_CD: what to group.
    key: of the start.
    num_groups: G.
    smallest: members of a group, at least.
    largest: at most.
    iterations: rounds of k-means, at most.

  Raises:
    ValueError: bounds that so many vectors cannot meet.
  """
  count = vectors_CD.shape[0]
  check_bounds(count, num_groups, smallest, largest)
  centers_GD, _ = kmeans(
    vectors_CD, key, num_codes=num_groups, iterations=iterations
  )
  costs_CG = squared_distances(vectors_CD, centers_GD)
  order_C = jnp.argsort(jnp.min(costs_CG, axis=1))

  def place(step, state):
    group_C, size_G = state
    row = order_C[step]
    lacking = jnp.sum(jnp.maximum(smallest - size_G, 0))
    open_G = (size_G < largest) & (
      (size_G < smallest) | (lacking < count - step)
    )
    group = jnp.argmin(jnp.where(open_G, costs_CG[row], jnp.inf))
    group = group.astype(jnp.int32)
    return group_C.at[row].set(group), size_G.at[group].add(1)

  state = (jnp.zeros(count, jnp.int32), jnp.zeros(num_groups, jnp.int32))
  return lax.fori_loop(0, count, place, state)[0]


def check_bounds(
  count: int, num_groups: int, smallest: int, largest: int
) -> None:
  """Raises a ValueError for bounds that so many vectors cannot meet."""
  if not num_groups * smallest <= count <= num_groups * largest:
    raise ValueError(
      f"{count} vectors cannot be {num_groups} groups of {smallest} to"
      f" {largest}."
    )


def drawn_beside(
  group_C: Int[Array, "C"], code_T: Int[Array, "T"], key: jax.Array
) -> tuple[Int[Array, "T"], Array]:
  """Another member of the group of each code, drawn, and whether there is one.

  Args:
    group_C: group of each code.
    code_T: codes.
    key: of the draws.
  """
  codes_C = jnp.arange(group_C.shape[0])
  beside_TC = group_C[None, :] == group_C[code_T][:, None]
  beside_TC = beside_TC & (codes_C[None, :] != code_T[:, None])
  draw_TC = jax.random.uniform(key, beside_TC.shape)
  drawn_T = jnp.argmax(jnp.where(beside_TC, draw_TC, -1.0), axis=1)
  return drawn_T, jnp.any(beside_TC, axis=1)
