# SPDX-License-Identifier: Apache-2.0
"""Items as paths in a tree whose every node has a vector of its own.

    p(c(i)_m = c | before) = softmax_c(<h of the token before, E[node, c]>)

over the children of the node that the codes before lead to. Read and written by
one causal Transformer, as models/token_decoder.py does; the leaf is the item,
and the last token that is read of it. SEATER (arXiv 2309.13375) has an encoder
that reads leaves alone, and a decoder of paths.

To be compared by shared prefix (objectives/tree.py), paths are scored too:

    score(history, path) = sigmoid(<W h, mean of the path's nodes>)

h is the state that the first code is read from. The published score pools the
decoder's states over a path that it reads, one pass a path.
"""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.resuming_seams import Kept
from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.item_tokens import before as before_each
from genrec_jax.layers.node_embedding import NodeEmbedding
from genrec_jax.models.token_decoder import TokenDecoder


class TreeDecoder(TokenDecoder):
  """See the module docstring; attributes of TokenDecoder, of which tables of
  inputs and outputs are always one."""

  def code_table(self) -> nn.Module:
    """Vectors by node."""
    return NodeEmbedding(self.level_sizes, self.width, self.embedding_init_std)

  def setup(self):
    super().setup()
    self.compare = nn.Dense(self.width, use_bias=False)

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    axes = super().logical_axes
    del axes["codes/output"]
    return {**axes, "compare/kernel": (None, "width")}

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, L, M, C) of the children on the way to every item.

    Returns:
      aux: "node_BSM" and "node_BSMD", numbers and vectors of the nodes on the
      way to each item, and where the batch has "ranked_codes_BSKM" the scores
      of those paths, "ranked_score_BSK".
    """
    codes_BLM = batch["codes_BLM"]
    node_BLMD = self.codes.all_levels(codes_BLM)
    h_BTD = self._states(node_BLMD, batch, deterministic)
    h_BLMD = before_each(h_BTD, self.num_levels)
    aux = {"node_BSM": self.codes.nodes(codes_BLM), "node_BSMD": node_BLMD}
    if "ranked_codes_BSKM" in batch:
      nodes_BSKMD = self.codes.all_levels(batch["ranked_codes_BSKM"])
      asks_BSD = self.compare(h_BLMD[:, :, 0].astype(jnp.float32))
      aux["ranked_score_BSK"] = jax.nn.sigmoid(
        jnp.einsum("BSD,BSKD->BSK", asks_BSD, jnp.mean(nodes_BSKMD, axis=3))
      )
    logits_BLMC = self.codes.all_logits(h_BLMD, codes_BLM)
    return Outputs(hidden=h_BTD, logits=logits_BLMC, aux=aux)

  def first_logits(self, h_BD: Float[Array, "B D"]) -> Float[Array, "B C"]:
    """Logits of the root's children."""
    return self.codes.logits(h_BD, 0, jnp.zeros(h_BD.shape[0], jnp.int32))

  def start(self, batch: Batch) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """Cache of the histories, one per row, and logits of the first level."""
    return _at_the_root(*super().start(batch))

  def resume_start(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[tuple[dict[str, Any], Float[Array, "B C"]], Kept]:
    """See core/resuming_seams.py."""
    started, kept = super().resume_start(kept, before, batch)
    return _at_the_root(*started), kept

  def step(
    self,
    cache: dict[str, Any],
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[dict[str, Any], Float[Array, "B K C"]]:
    """Logits of a level after each beam's code of the level before."""
    path_BK = jnp.take_along_axis(cache["path"], parents_BK, axis=1)
    path_BK = self.codes.child(path_BK, level - 1, codes_BK)
    # What the codes of a level are to its table, nodes are to this one.
    cache, h_BKD = self._read(cache, level, path_BK, parents_BK)
    cache = {**cache, "path": path_BK}
    return cache, self.codes.logits(h_BKD, level, path_BK)


def _at_the_root(cache, logits_BC):
  root_B1 = jnp.zeros((logits_BC.shape[0], 1), jnp.int32)
  return {**cache, "path": root_B1}, logits_BC
