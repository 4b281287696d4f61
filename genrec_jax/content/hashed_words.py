# SPDX-License-Identifier: Apache-2.0
"""Texts as hashed words, which need no file: for small data and for tests.

    HashedWords(num_words=512).split(["red pen"])    [[1, h(red), h(pen), 0 ..]]

Id 1 comes first, as the special token of word pieces does, others are
2 + hash(word) mod (num_words - 2); words of one id are one word. Vectors are
normal, by `seed`.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any
import zlib

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.word_pieces import filled_up
from genrec_jax.core import artifact

_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class HashedWords:
  """See the module docstring.

  Attributes:
    num_words: W, ids.
    max_tokens: longer texts are cut, the first token included.
    width: of the vectors.
    seed: of the vectors.
  """

  num_words: int = 512
  max_tokens: int = 32
  width: int = 128
  seed: int = 0

  def __post_init__(self):
    if self.num_words < 3 or self.max_tokens < 2 or self.width < 1:
      raise ValueError(
        f"HashedWords(num_words={self.num_words}, max_tokens="
        f"{self.max_tokens}, width={self.width}): at least 3 words, 2 tokens"
        " and 1 dimension."
      )

  def describe(self) -> dict[str, Any]:
    """What tokens and table depend on."""
    return artifact.describe(self)

  def split(self, texts: Sequence[str]) -> Int[np.ndarray, "N T"]:
    """Ids of the first words of each text, behind id 1."""
    rows = [
      [1, *(self._id(word) for word in _WORD.findall(text.lower()))]
      for text in texts
    ]
    return filled_up([row[: self.max_tokens] for row in rows], self.max_tokens)

  def table(self) -> Float[np.ndarray, "W D"]:
    """Vectors by id."""
    draw = np.random.default_rng(self.seed)
    return draw.normal(size=(self.num_words, self.width)).astype(np.float32)

  def _id(self, word: str) -> int:
    return 2 + zlib.crc32(word.encode()) % (self.num_words - 2)
