# SPDX-License-Identifier: Apache-2.0
"""COBRA: an item's codes are generated, and then its vector.

    tokens   c(i_1)_0 .. c(i_1)_{M-1} v(i_1)  c(i_2)_0 ...      M + 1 per item
    x        E_m[c(i)_m] or W v(i) + b,  + P[position of i]
    v^(i)    read at c(i)_{M-1}

Yang et al., arXiv 2503.02453. Codes say in which cluster the next item lies,
and the vector where in it: it is read at the item's last code, which training
gives and a search generates (retrieval/beam_fusion.py), so that codes may be
coarse and need not tell items apart. With vector_from="history" it is read
where the codes begin: the same of all beams. The rest is in vector_decoder.py.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.models.vector_decoder import VectorDecoder
from genrec_jax.models.vector_place import check_vector_from


class Cobra(VectorDecoder):
  """See the module docstring.

  Attributes:
    vector_from: "codes" or "history": where an item's vector is read.
  """

  vector_from: str = "codes"

  def __post_init__(self):
    super().__post_init__()
    check_vector_from(self.vector_from)

  @property
  def tokens_per_item(self) -> int:
    """Codes, and a vector."""
    return self.num_levels + 1

  @property
  def vector_place(self) -> int:
    """Behind the codes, or before them."""
    return -1 if self.vector_from == "codes" else 0

  def embed(
    self, codes_BLMD: Float[Array, "B L M D"], vector_BLD: Float[Array, "B L D"]
  ) -> Float[Array, "B L N D"]:
    """The vector is a token of its own."""
    return jnp.concatenate([codes_BLMD, vector_BLD[:, :, None]], axis=2)

  def beam_vectors(
    self,
    cache: dict[str, Any],
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> Float[Array, "B K E"]:
    """Unit vectors of beams, after their codes of the last level."""
    if self.vector_from == "history":
      vector_B1E = self.history_vector(cache)[:, None]
      shape = (*codes_BK.shape, vector_B1E.shape[-1])
      return jnp.broadcast_to(vector_B1E, shape)
    _, h_BKD = self._read(cache, self.num_levels, codes_BK, parents_BK)
    return self._vector(h_BKD)
