# SPDX-License-Identifier: Apache-2.0
"""What decoders of codes and vectors share: COBRA (cobra.py), LIGER (liger.py).

    p(c(i)_m = c | before) = softmax_c(<h of the token before, F_m[c]>)
    v^(i) = W' h(a token before i's last)    compared by cosine with v(i)

v(i) is made of what an item is by an encoder that is trained with all else
(layers/item_content.py). A model of the two says which tokens an item is, and
where its vector is read; what concerns codes alone is in token_decoder.py.
"""

from typing import Any

from jaxtyping import Array, Float

from genrec_jax.core.types import Batch, Outputs
from genrec_jax.layers.item_content import ContentEncoder
from genrec_jax.layers.item_tokens import before
from genrec_jax.models.content_items import ContentItems
from genrec_jax.models.token_decoder import TokenDecoder
from genrec_jax.models.vector_place import check_of_history


class VectorDecoder(ContentItems, TokenDecoder, kw_only=True):
  """See the module docstring; options of items in content_items.py."""

  item_encoder: ContentEncoder
  num_distinct: int | None = None
  with_ids: bool = False
  stop_gradient_target: bool = False
  tied: bool = False
  embedding_init_std: float = 0.05
  position_init_std: float = 0.05
  row_multiple: int = 1

  # Tokens have vectors of items as well, which resume_start does not read.
  resumes = False

  def setup(self):
    super().setup()
    self._set_up_items()

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {
      **self.content_axes,
      # Behind: a backbone's names are ends of an encoder's too.
      **super().logical_axes,
    }

  @property
  def vector_place(self) -> int:
    """Before which of an item's tokens its vector is read; -1: the last."""
    raise NotImplementedError

  def embed(
    self, codes_BLMD: Float[Array, "B L M D"], vector_BLD: Float[Array, "B L D"]
  ) -> Float[Array, "B L N D"]:
    """An item's tokens, of its embedded codes and its projected vector."""
    raise NotImplementedError

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """Of every item, from tokens before it: logits and a query.

    Returns:
      Logits (B, L, M, C) of its codes, queries (B, L, E), and the batch's items
      in aux["items"]. Those of a segment's first item follow from nothing and
      mean nothing.
    """
    vectors_BLE, items = self.item_content(
      batch["item_BL"], deterministic=deterministic
    )
    x_BLND = self._embedded(batch, vectors_BLE)
    h_BTD = self._states(x_BLND, batch, deterministic)
    before_BLND = before(h_BTD, self.tokens_per_item)
    return Outputs(
      hidden=h_BTD,
      logits=self.codes.all_logits(before_BLND[:, :, : self.num_levels]),
      query=self._vector(before_BLND[:, :, self.vector_place]),
      aux={"items": self._targets(items)},
    )

  def start(self, batch: Batch) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """Cache of the histories, one per row, and logits of the first level."""
    vectors_BLE, _ = self.item_content(batch["item_BL"], deterministic=True)
    return self._begun(batch, vectors_BLE)

  def start_from(
    self, batch: Batch, vectors_RE: Float[Array, "R E"]
  ) -> tuple[dict[str, Any], Float[Array, "B C"]]:
    """As start, with what `items` gave in place of encoding items anew."""
    return self._begun(batch, vectors_RE[batch["item_BL"]])

  def check_history_vector(self) -> None:
    """Raises a ValueError where the vector is read behind codes."""
    check_of_history(self, self.vector_place == 0)

  def history_vector(self, cache: dict[str, Any]) -> Float[Array, "B E"]:
    """Unit vectors of what comes next, by histories alone.

    Raises:
      ValueError: a vector that is read behind codes.
    """
    self.check_history_vector()
    return self._vector(cache["state"])

  def query(self, batch: Batch) -> Float[Array, "B E"]:
    """The same of a batch: all items may be searched by it, without codes."""
    return self.history_vector(self.start(batch)[0])

  def _begun(self, batch, vectors_BLE):
    x_BLND = self._embedded(batch, vectors_BLE)
    cache, h_BD = self._started(x_BLND, batch, self.num_levels)
    return {**cache, "state": h_BD}, self.codes.logits(h_BD, 0)

  def _embedded(self, batch, vectors_BLE):
    codes_BLMD = self.codes.all_levels(batch["codes_BLM"])
    return self.embed(codes_BLMD, self.vector_in(vectors_BLE))
