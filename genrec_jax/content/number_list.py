# SPDX-License-Identifier: Apache-2.0
"""Content that is numbers already, written in a column: no text to encode.

    NumberList(width=3).encode(["[-0.5 1 2]"])       [[-0.5, 1, 2]]

So what comes of a sensor, a picture or another system's model is content of an
item like its words are: config.content.encoder, with the column in brackets as
the template, "[{column}]". Without them a minus in front would be taken for
punctuation around a text (content/item_texts.py).
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from jaxtyping import Float
import numpy as np

from genrec_jax.core import artifact
from genrec_jax.core.option_checks import check_counts


@dataclasses.dataclass(frozen=True)
class NumberList:
  """Texts of numbers in brackets, separated by blanks.

  Attributes:
    width: numbers of each.
  """

  width: int

  def __post_init__(self):
    check_counts(self, "config.content.encoder", "width")

  @property
  def fingerprint(self) -> str:
    """Names the function from text to vector."""
    return artifact.content_hash(self.describe())

  def describe(self) -> dict[str, Any]:
    """The options."""
    return artifact.describe(self)

  def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """The numbers.

    Raises:
      ValueError: a text without brackets, with another number of numbers, or
        with something else.
    """
    rows = np.zeros((len(texts), self.width), np.float32)
    for place, text in enumerate(texts):
      if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(
          f"content.NumberList reads numbers in brackets, and an item has"
          f" {text[:60]!r}: write config.content.template='[{{column}}]'."
        )
      words = text[1:-1].split()
      try:
        numbers = [float(word) for word in words]
      except ValueError as error:
        raise ValueError(
          f"content.NumberList reads numbers with blanks between, and an item"
          f" has {text[:60]!r} ({error})."
        ) from error
      if len(numbers) != self.width:
        raise ValueError(
          f"content.NumberList(width={self.width}): an item has"
          f" {len(numbers)} numbers, {text[:60]!r}; give each as many."
        )
      rows[place] = numbers
    return rows
