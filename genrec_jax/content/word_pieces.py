# SPDX-License-Identifier: Apache-2.0
"""Texts as word pieces, and a narrow vector of each to start from.

    words = WordPieces(max_tokens=32, width=128)
    words.split(["OPI Nail Lacquer"])     int32 (1, 32), 0 = no token
    words.table()                         float32 (30,522, 128)

Tokenizer and vectors are those of the text encoder in `path`
(content/text_encoder.py). Its table W is projected by principal components:

    (W - mean(W)) V_width       V: eigenvectors of W's covariance, by variance

which keeps what tells words apart as well as any projection of that width can.
Of MiniLM's 384 dimensions, 128 keep 66 % of the variance.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.text_encoder import TextEncoder


@dataclasses.dataclass(frozen=True)
class WordPieces:
  """See the module docstring.

  Attributes:
    path: folder of the text encoder; '' finds the installed package.
    max_tokens: longer texts are cut, special tokens included.
    width: of the vectors.
  """

  path: str = ""
  max_tokens: int = 32
  width: int = 128

  @functools.cached_property
  def _encoder(self) -> TextEncoder:
    return TextEncoder(self.path, max_tokens=self.max_tokens)

  def describe(self) -> dict[str, Any]:
    """What tokens and table depend on, and no more."""
    return {
      "name": "content.WordPieces",
      "max_tokens": self.max_tokens,
      "width": self.width,
      "fingerprint": self._encoder.fingerprint,
    }

  def split(self, texts: Sequence[str]) -> Int[np.ndarray, "N T"]:
    """Ids of the first max_tokens pieces of each text, the first special."""
    return filled_up(self._encoder.pieces(texts), self.max_tokens)

  def table(self) -> Float[np.ndarray, "W D"]:
    """Vectors by id.

    Raises:
      ValueError: a width beyond that of the encoder.
    """
    whole = np.asarray(self._encoder.word_vectors, np.float64)
    if not 0 < self.width <= whole.shape[1]:
      raise ValueError(
        f"WordPieces(width={self.width}): from 1 to the {whole.shape[1]} of"
        " the encoder."
      )
    centred = whole - whole.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    first = vectors[:, ::-1][:, : self.width]
    # An eigenvector is one up to its sign: the largest component is positive.
    largest = np.abs(first).argmax(axis=0)
    first = first * np.sign(first[largest, np.arange(self.width)])
    return (centred @ first).astype(np.float32)


def filled_up(
  rows: Sequence[Sequence[int]], length: int
) -> Int[np.ndarray, "N T"]:
  """Rows of ids with 0 behind them."""
  filled = np.zeros((len(rows), length), np.int32)
  for place, row in enumerate(rows):
    filled[place, : len(row)] = row
  return filled
