# SPDX-License-Identifier: Apache-2.0
"""LIGER on a causal Transformer: codes are generated, vectors rank.

    tokens   c(i_1)_0 .. c(i_1)_{M-1}  c(i_2)_0 ...                M per item
    x        E_m[c(i)_m] + P[position of i],  + W v(i) + b at the last code
    v^(i)    read at the last code of the item before i

Yang et al., arXiv 2411.18814, whose host is an encoder-decoder. One vector of
the history ranks what the beams of codes propose, and the items that nobody
has been trained on (retrieval/beam_union.py). What an item is joins its last
code alone: codes before it are predicted from one another, and would know their
item by it. The rest is in vector_decoder.py.
"""

from jaxtyping import Array, Float

from genrec_jax.models.vector_decoder import VectorDecoder


class Liger(VectorDecoder):
  """See the module docstring; attributes are those of VectorDecoder."""

  vector_place = 0

  @property
  def tokens_per_item(self) -> int:
    """Codes alone."""
    return self.num_levels

  def embed(
    self, codes_BLMD: Float[Array, "B L M D"], vector_BLD: Float[Array, "B L D"]
  ) -> Float[Array, "B L M D"]:
    """The vector is added to the last code."""
    return codes_BLMD.at[:, :, -1].add(vector_BLD)
