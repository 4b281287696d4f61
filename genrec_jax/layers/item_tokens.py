# SPDX-License-Identifier: Apache-2.0
"""Items as several tokens each: rows of items become rows of their tokens.

    item j of a segment     tokens  j n, j n + 1, .. j n + n - 1     n per item

Whole rows and one generated token at a time are told to attention alike.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Batch, SequenceInfo


def token_rows(
  x_BLND: Float[Array, "B L N D"], batch: Batch
) -> tuple[Float[Array, "B T D"], SequenceInfo]:
  """Embedded tokens in rows (B, L N, D), 0 at padding, and what they are.

  Args:
    x_BLND: tokens of each item.
    batch: segments and positions of the items.
  """
  rows, length, per_item, width = x_BLND.shape
  info = token_info(batch, per_item)
  x_BTD = x_BLND.reshape(rows, length * per_item, width)
  return jnp.where(info.valid_BL[:, :, None], x_BTD, 0), info


def token_info(batch: Batch, per_item: int) -> SequenceInfo:
  """What attention needs to know of the tokens of rows of items.

  Args:
    batch: segments and positions of the items.
    per_item: tokens of each.
  """
  segments = jnp.repeat(batch["segment_ids_BL"], per_item, axis=1)
  positions = batch["positions_BL"][:, :, None] * per_item
  positions = positions + jnp.arange(per_item)[None, None, :]
  positions = positions.reshape(segments.shape)
  positions = jnp.where(segments > 0, positions, 0)
  none = jnp.zeros_like(segments)
  return SequenceInfo(segments, positions, none, none)


def before(
  h_BTD: Float[Array, "B T D"], per_item: int
) -> Float[Array, "B L {per_item} D"]:
  """The state before each token, which predicts it; by item."""
  before_BTD = jnp.pad(h_BTD[:, :-1], ((0, 0), (1, 0), (0, 0)))
  rows, tokens, width = h_BTD.shape
  return before_BTD.reshape(rows, tokens // per_item, per_item, width)


def next_token(
  items_B: Int[Array, "B"], per_item: int, place: int
) -> SequenceInfo:
  """What a token of the item behind each history is: its place-th.

  Args:
    items_B: of the histories.
    per_item: tokens of an item.
    place: of the token within the item.
  """
  positions_B1 = items_B[:, None] * per_item + place
  one_B1, none_B1 = jnp.ones_like(positions_B1), jnp.zeros_like(positions_B1)
  return SequenceInfo(one_B1, positions_B1, none_B1, none_B1)
