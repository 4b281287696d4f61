# SPDX-License-Identifier: Apache-2.0
"""How like a candidate the events of a history are: sorted cosines as numbers.

    f = the k largest of cos(c, e_j), descending       -1 where there are fewer

They say how many events are how much like the candidate, and not where they
stand: neither order nor padding of the history has a say. -1 is the least that
a cosine can be: nothing is alike.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES

_NOTHING = -1.0


def top_cosines(
  candidate_D: Float[Array, "*b D"],
  history_HD: Float[Array, "*b H D"],
  where_H: Bool[Array, "*b H"],
  k: int,
) -> Float[Array, "*b k"]:
  """The k largest cosines in float32, descending.

  Args:
    candidate_D: of any length but 0.
    history_HD: events.
    where_H: which of them count.
    k: numbers; more than H are filled up.
  """
  cosine_H = jnp.einsum(
    "...d,...hd->...h",
    l2_normalize(candidate_D.astype(jnp.float32)),
    l2_normalize(history_HD.astype(jnp.float32)),
    precision=SCORES,
  )
  cosine_H = jnp.where(where_H, cosine_H, _NOTHING)
  missing = max(0, k - cosine_H.shape[-1])
  pad = [(0, 0)] * (cosine_H.ndim - 1) + [(0, missing)]
  cosine_H = jnp.pad(cosine_H, pad, constant_values=_NOTHING)
  return jax.lax.top_k(cosine_H, k)[0]
