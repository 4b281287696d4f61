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
  order = jnp.sort(flat)
  new = jnp.concatenate([jnp.ones(1, bool), order[1:] != order[:-1]])
  rank = jnp.cumsum(new) - 1
  found = jnp.zeros(size, ids.dtype).at[rank].set(order, mode="drop")
  places = rank[jnp.searchsorted(order, ids.reshape(-1))]
  return found, places.reshape(ids.shape).astype(jnp.int32)
