# SPDX-License-Identifier: Apache-2.0
"""One model that finds items and says what the user would do with them.

    z_i = head(LN(backbone(x)_i))      of items that are asked about
    q_i = backbone(x)_i                of what tells an event's action

The ranker of models/action_ranker.py whose last token of every event is also a
query for the next item (data/layouts/joint.py), scored against E[v], the table
that the input is embedded by. Queries and items are l2-normalised or not
together, as in models/next_item.py. Both uses of one sequence model:
arXiv 2402.17152, section 2.
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.packed_rows import last_of_rows


class JointRanker(ActionRanker):
  """See the module docstring.

  Attributes:
    normalize: l2-normalise queries and items (eps 1e-6).
  """

  normalize: bool = True

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """As of the ranker, and queries (B, L, D); 0 at padding."""
    outputs = super().__call__(batch, deterministic=deterministic)
    # Scores are float32 whatever the compute dtype: bfloat16 ties often.
    query_BLD = outputs.hidden.astype(jnp.float32)
    if self.normalize:
      query_BLD = l2_normalize(query_BLD)
    valid_BL1 = (batch["segment_ids_BL"] > 0)[:, :, None]
    return dataclasses.replace(
      outputs, query=jnp.where(valid_BL1, query_BLD, 0)
    )

  def query(self, batch: Batch) -> Float[Array, "B D"]:
    """Query vector of the last token of each row (one user per row)."""
    query_BLD = self(batch, deterministic=True).query
    return last_of_rows(query_BLD, batch["segment_ids_BL"])

  def items(
    self, ids: Int[Array, "..."] | None = None
  ) -> Float[Array, "... D"]:
    """Item vectors of the ids, or of the whole table for None."""
    vectors = super().items(ids)
    return l2_normalize(vectors) if self.normalize else vectors
