# SPDX-License-Identifier: Apache-2.0
"""Text to vectors without weights: TF-IDF and a truncated SVD.

    fitted = TfidfSvd(width=128).fit(texts)
    fitted.encode(texts)                        float32 (N, D), unit length

Words and pairs of words, sublinear counts, inverse document frequency, then
the leading right singular vectors of the matrix of all texts (latent semantic
analysis) by scikit-learn. The fit is saved with the vectors it made, so that
new items can be coded in the same space: `TfidfSvd(path="WORKDIR/vectors/
encoder")`. A text without a known word gets zeros.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np

from genrec_jax.core import artifact, atomic, sealed

_ARRAYS, _WORDS = "tfidf.npz", "words.json"


@dataclasses.dataclass(frozen=True)
class TfidfSvd:
  """Options.

  Attributes:
    width: D of the vectors.
    min_texts: words in fewer texts are left out.
    max_words: the most frequent words and pairs that are kept.
    pairs: count pairs of neighbouring words too.
    seed: of the randomised SVD.
    path: a folder that a fit was saved to: nothing is fitted, and all other
      options are those of that fit.
  """

  width: int = 128
  min_texts: int = 2
  max_words: int = 20_000
  pairs: bool = True
  seed: int = 0
  path: str = ""

  def fit(self, texts: Sequence[str]) -> "FittedTfidf":
    """Learns words, weights and directions, or reads them from `path`.

    Raises:
      ValueError: fewer texts or words than `width` needs.
    """
    if self.path:
      return FittedTfidf.load(self.path)
    # Here, for every command would wait a second for what few use.
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(
      ngram_range=(1, 2 if self.pairs else 1),
      # A catalogue of a few items has few repeated words.
      min_df=min(self.min_texts, max(1, len(texts) // 2)),
      max_features=self.max_words,
      sublinear_tf=True,
      dtype=np.float32,
    )
    try:
      counts = words.fit_transform(texts)
    except ValueError as e:
      raise ValueError(f"TfidfSvd found no words in the texts: {e}.") from e
    least = min(counts.shape)
    if self.width >= least:
      raise ValueError(
        f"TfidfSvd(width={self.width}): {len(texts)} texts with"
        f" {counts.shape[1]} words give at most {least - 1} dimensions. Lower"
        " width or min_texts."
      )
    svd = TruncatedSVD(self.width, random_state=self.seed)
    svd.fit(counts)
    return FittedTfidf(
      words={word: int(i) for word, i in words.vocabulary_.items()},
      idf=words.idf_.astype(np.float32),
      directions=svd.components_.astype(np.float32),
      pairs=self.pairs,
    )

  def describe(self) -> dict[str, Any]:
    """The options, or the fit that is read."""
    if self.path:
      return FittedTfidf.load(self.path).describe()
    described = artifact.describe(self)
    del described["path"]
    return described


@dataclasses.dataclass(frozen=True, eq=False)
class FittedTfidf:
  """Words, their weights and directions.

  Attributes:
    words: word or pair -> its column W.
    idf: inverse document frequency by column.
    directions: leading right singular vectors.
    pairs: whether pairs of words are counted.
  """

  words: Mapping[str, int]
  idf: Float[np.ndarray, "W"]
  directions: Float[np.ndarray, "D W"]
  pairs: bool

  @functools.cached_property
  def fingerprint(self) -> str:
    """Names words, weights and directions."""
    return artifact.content_hash(
      dict(self.words), self.idf, self.directions, self.pairs
    )

  def describe(self) -> dict[str, Any]:
    """Its fingerprint and width."""
    return {
      "name": "content.FittedTfidf",
      "width": len(self.directions),
      "fingerprint": self.fingerprint,
    }

  def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Unit vectors of texts; zeros where no word is known."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
      ngram_range=(1, 2 if self.pairs else 1),
      sublinear_tf=True,
      dtype=np.float32,
      vocabulary=dict(self.words),
    )
    vectorizer.idf_ = self.idf
    vectors = vectorizer.transform(texts) @ self.directions.T
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(length, 1e-12)).astype(np.float32)

  def save(self, directory: str | os.PathLike) -> None:
    """Writes tfidf.npz and words.json."""
    directory = pathlib.Path(directory)
    artifact.save_arrays(
      directory / _ARRAYS, {"idf": self.idf, "directions": self.directions}
    )
    by_column = sorted(self.words, key=self.words.__getitem__)
    text = json.dumps(
      {"pairs": self.pairs, "fingerprint": self.fingerprint, "words": by_column}
    )
    atomic.write_text(directory / _WORDS, text)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "FittedTfidf":
    """Reads what save wrote.

    Raises:
      ValueError: missing or damaged.
    """
    directory = pathlib.Path(directory)
    arrays = artifact.load_arrays(directory / _ARRAYS)
    path = directory / _WORDS
    if not path.is_file():
      raise ValueError(f"{path} is missing: make the vectors again.")
    # Its fingerprint is its checksum.
    values = sealed.read_json(path, "Make the vectors again.")
    try:
      fitted = cls(
        words={word: i for i, word in enumerate(values["words"])},
        idf=arrays["idf"],
        directions=arrays["directions"],
        pairs=values["pairs"],
      )
      fingerprint = values["fingerprint"]
    except KeyError as e:
      raise ValueError(f"{path} is damaged: it lacks {e}.") from e
    if fitted.fingerprint != fingerprint:
      raise ValueError(f"{directory} is not what was saved: make it again.")
    return fitted
