# SPDX-License-Identifier: Apache-2.0
"""Rows of different lengths in pages of one size, which any row may have.

    pages_NPHE    (pages, tokens of a page, heads, width)
    gather_pages  row b = pages index_b0 index_b1 ... one behind the other
    put_pages     pages w of row b, from its page first_b on, to index_bw

Which page is whose is somebody else's to know (paging/page_tables.py). Shapes
are fixed: a row takes as many pages as the longest may have, and what lies
beyond its own is not its own. PagedAttention keeps keys and values so (Kwon et
al., SOSP 2023); here they are gathered to be attended to.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def gather_pages(
  pages_NPHE: Float[Array, "N P H E"], index_BR: Int[Array, "B R"]
) -> Float[Array, "B L H E"]:
  """Rows of R pages each: L = R P.

  Args:
    pages_NPHE: all pages.
    index_BR: pages of each row in order; any that is there where it has fewer.
  """
  rows, count = index_BR.shape
  found = jnp.take(pages_NPHE, index_BR, axis=0, mode="clip")
  return found.reshape(rows, count * found.shape[2], *found.shape[3:])


def put_pages(
  pages_NPHE: Float[Array, "N P H E"],
  rows_BLHE: Float[Array, "B L H E"],
  first_B: Int[Array, "B"],
  index_BW: Int[Array, "B W"],
) -> Float[Array, "N P H E"]:
  """The pages with W of each row.

  Args:
    pages_NPHE: all pages.
    rows_BLHE: rows; a page that reaches beyond L ends with anything.
    first_B: of a row's pages the first that is put.
    index_BW: where each goes, all of them different; N = nowhere.
  """
  size, (rows, count) = pages_NPHE.shape[1], index_BW.shape
  token_BT = first_B[:, None] * size + jnp.arange(count * size)[None]
  token_BT = jnp.minimum(token_BT, rows_BLHE.shape[1] - 1)
  found = jnp.take_along_axis(rows_BLHE, token_BT[:, :, None, None], axis=1)
  found = found.reshape(rows * count, size, *found.shape[2:])
  return pages_NPHE.at[index_BW.reshape(-1)].set(
    found.astype(pages_NPHE.dtype), mode="drop"
  )
