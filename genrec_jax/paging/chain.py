# SPDX-License-Identifier: Apache-2.0
"""Digests of the pages of a row, each over its tokens and the page before.

    d_-1 = H(salt)        d_i = H(d_{i-1}, tokens of page i)

Equal digests of page i mean equal tokens in all pages up to i, so what was
computed of them holds if nothing else went into it; what else did belongs into
the salt, such as the version of a model. A page that is not full has a digest
as well, over the tokens that it has.
"""

import hashlib

from jaxtyping import Int, UInt8
import numpy as np

_BYTES = 16


class Chain:
  """See the module docstring; of one row of tokens.

  Attributes:
    page_size: tokens of a page.
  """

  def __init__(
    self,
    tokens_nS: UInt8[np.ndarray, "n S"],
    page_size: int,
    salt: bytes = b"",
    marks_n: Int[np.ndarray, "n"] | None = None,
  ):
    """Looks at nothing yet: digests are made when they are asked for.

    Args:
      tokens_nS: what each token is, in S bytes.
      page_size: tokens of a page.
      salt: what else has to be equal.
      marks_n: a number of each token, such as its time, by which pages are cut
        (PageTables.cut); None = they never are.
    """
    self.page_size = page_size
    self._count, self._width = tokens_nS.shape
    self._tokens, self._marks = tokens_nS.tobytes(), marks_n
    # That of no page, then those of full ones.
    self._full = [_digest(salt)]

  def __len__(self) -> int:
    """Tokens."""
    return self._count

  @property
  def num_pages(self) -> int:
    """Pages that hold them all."""
    return -(-self._count // self.page_size)

  def digest(self, page: int, count: int) -> bytes:
    """Of a page of which `count` tokens are taken, all of them there."""
    full, size = self._full, self.page_size * self._width
    whole = page + (count == self.page_size)
    for number in range(len(full) - 1, whole):
      start = number * size
      full.append(_digest(full[number] + self._tokens[start : start + size]))
    if whole > page:
      return full[whole]
    start = page * size
    part = self._tokens[start : start + count * self._width]
    return _digest(full[page] + part)

  def mark(self, page: int, count: int) -> float:
    """The largest mark of a page's first tokens; -inf without marks."""
    if self._marks is None:
      return -np.inf
    start = page * self.page_size
    return float(self._marks[start : start + count].max())


def _digest(content: bytes) -> bytes:
  return hashlib.blake2b(content, digest_size=_BYTES).digest()
