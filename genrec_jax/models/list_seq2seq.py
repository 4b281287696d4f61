# SPDX-License-Identifier: Apache-2.0
"""A list of items, written by one decoder behind an encoded history.

    encoder   c(i_1)_0 .. c(i_1)_{M-1}  c(i_2)_0 ...
    decoder   BOS c(j_1)_0 .. c(j_1)_{M-1}  BOS c(j_2)_0 ..
              ->  c(j_1)_0 .. c(j_1)_{M-1}      c(j_2)_0 ..

OneRec v1 (Deng et al., arXiv 2502.18965): a begin token stands before every
item of the list, and an item sees those before it. Its code p(c | before) is
token_seq2seq.py's, which this is with lists of one item: the same batches
(data/layouts/list_targets.py) then train items apart, each by the history
alone. The decoder may have mixtures of experts (backbones/encoder_decoder.py);
how they routed is in aux["routed"], for objectives.RoutingLoss.

Lists are written with a cache, all lists of a request side by side
(decoding/lists.py); `start` and `step` find a single item, the first.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Batch, Outputs, SequenceInfo
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.expert_feed_forward import below
from genrec_jax.models.token_seq2seq import TokenSeq2Seq


class ListSeq2Seq(TokenSeq2Seq, kw_only=True):
  """See the module docstring; other attributes are TokenSeq2Seq's.

  Attributes:
    list_size: J, items of a list.
  """

  list_size: int

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, "config.system", "list_size")

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Logits (B, S, M, C) of all items of lists, S / J lists one by one."""
    x_BLD, info = self._tokens(batch)
    memory_BLD = self.backbone.encode(x_BLD, info, deterministic)
    rows, size, levels = x_BLD.shape[0], self.list_size, len(self.level_sizes)
    codes_BSJM = batch["target_codes_BSM"].reshape(rows, -1, size, levels)
    there_BSJ = batch["target_item_BS"].reshape(rows, -1, size) > 0
    y_BSJTD = self.codes.all_levels(codes_BSJM)
    begin = jnp.broadcast_to(self.begin, (*codes_BSJM.shape[:3], 1, self.width))
    y_BSJTD = jnp.concatenate([begin, y_BSJTD], axis=3)
    lists = y_BSJTD.shape[1]
    # Nothing is asked for behind the last code.
    y_BSTD = y_BSJTD.reshape(rows, lists, -1, self.width)[:, :, :-1]
    there_BST = jnp.repeat(there_BSJ, levels + 1, axis=2)[:, :, :-1]
    h_BSTD, routed = self.backbone.decode_routed(
      y_BSTD.astype(self.dtype),
      batch["target_segment_BS"][:, ::size],
      memory_BLD,
      info,
      deterministic,
      there_BST,
    )
    routed = [below("backbone", one) for one in routed]
    h_BSTD = jnp.pad(h_BSTD, ((0, 0), (0, 0), (0, 1), (0, 0)))
    h_BSTD = h_BSTD.reshape(rows, lists * size, levels + 1, self.width)
    return Outputs(
      hidden=memory_BLD,
      logits=self.codes.all_logits(h_BSTD[:, :, :-1]),
      aux={"routed": routed},
      assign={p: pair for one in routed for p, pair in one.assign.items()},
    )

  def begin_lists(
    self, batch: Batch, num_lists: int, list_size: int
  ) -> tuple[Cache, Int[Array, "B K"]]:
    """See core/model_seams.py: ListModel."""
    x_BLD, info = self._tokens(batch)
    room = list_size * (len(self.level_sizes) + 1)
    _, cache = self.backbone.start(x_BLD, info, room)
    none_BK = jnp.zeros((x_BLD.shape[0], num_lists), jnp.int32)
    return cache.follow(none_BK, num_lists), none_BK

  def next_item(
    self,
    cache: Cache,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
    behind: Bool[Array, ""],
  ) -> tuple[Cache, Float[Array, "B K C"]]:
    """See core/model_seams.py: ListModel."""
    y_BKD = self.codes(codes_BK, len(self.level_sizes) - 1)
    _, cache = self._written(y_BKD, cache, parents_BK, behind)
    y_BKD = jnp.broadcast_to(self.begin[None, None], y_BKD.shape)
    h_BKD, cache = self._written(y_BKD, cache, None)
    return cache, self.codes.logits(h_BKD, 0)

  def _logits(self, y_BKD, cache, level, parents_BK):
    h_BKD, cache = self._written(y_BKD, cache, parents_BK)
    return cache, self.codes.logits(h_BKD, level)

  def _written(
    self,
    y_BKD: jax.Array,
    cache: Cache,
    parents_BK: jax.Array | None,
    there: jax.Array | bool = True,
  ):
    """The backbone's step, of tokens that all lists write at one place."""
    place_B1 = cache.end_BK[:, :1]
    none_B1 = jnp.zeros_like(place_B1)
    info = SequenceInfo(none_B1 + there, place_B1, none_B1, none_B1)
    return self.backbone.step(y_BKD.astype(self.dtype), cache, info, parents_BK)
