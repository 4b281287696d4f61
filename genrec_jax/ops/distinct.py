# SPDX-License-Identifier: Apache-2.0
"""Each distinct id once, in a fixed number of places.

    ids (..)  ->  distinct_U ascending, and of each id where it stands there

What is computed per distinct id and gathered back costs once what would be
computed per occurrence; the gather's gradient adds up over occurrences, so
that each counts as often as it occurs.
"""

import jax.numpy as jnp
from jaxtyping import Array, Int


def distinct_ids(
  ids: Int[Array, "*b"], size: int | None = None
) -> tuple[Int[Array, "U"], Int[Array, "*b"]]:
  """Distinct ids, and the place of every id among them.

  Args:
    ids: non-negative; 0 is padding, and stands in front.
    size: U; None = as many as there are ids, and padding, which always fits.

  Returns:
    Ids, first 0 and then those that occur, ascending, and 0 to fill up; places,
    which are U or beyond for ids that do not fit.
  """
  count = ids.size
  size = count + 1 if size is None else size
  # Padding is always there, so that a place of it exists.
  flat = jnp.concatenate([jnp.zeros(1, ids.dtype), ids.reshape(-1)])
  order = jnp.argsort(flat)
  ascending = flat[order]
  new = jnp.concatenate([jnp.ones(1, bool), ascending[1:] != ascending[:-1]])
  rank = jnp.cumsum(new, dtype=jnp.int32) - 1
  found = jnp.zeros(size, ids.dtype).at[rank].set(ascending, mode="drop")
  # No binary search: it needs to know how many there are (jax.export).
  places = jnp.zeros(flat.shape, jnp.int32).at[order].set(rank)
  return found, places[1:].reshape(ids.shape)
