# SPDX-License-Identifier: Apache-2.0
"""Made-up words: "kadu", "tofisa", ..., each of them once.

A word is two or more syllables of a consonant and a vowel, so that it can be
read, and no word says by its letters what it means.
"""

import numpy as np

_SYLLABLES = tuple(c + v for c in "bdfgklmnprstvz" for v in "aeiou")


def word_names(count: int, rng: np.random.Generator) -> list[str]:
  """Different words in random order, as short as their number allows.

  Args:
    count: how many.
    rng: of the order.
  """
  base, length = len(_SYLLABLES), 2
  while base**length < count:
    length += 1
  numbers = rng.choice(base**length, count, replace=False)
  places = numbers[:, None] // base ** np.arange(length)[None, :] % base
  return ["".join(_SYLLABLES[p] for p in row) for row in places]
