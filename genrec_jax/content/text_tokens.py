# SPDX-License-Identifier: Apache-2.0
"""The text of every item as tokens, for models that read words: an artifact.

    TextTokens.make(catalog, WordPieces(), "{title}", "WORKDIR/text_tokens")
    tokens = TextTokens.load("WORKDIR/text_tokens")
    tokens.tokens[i]        int32 (V + 1, T), 0 = no token; row 0 is zeros
    tokens.words[w]         float32 (W, D), what a word's vector starts as

    WORKDIR/text_tokens/  manifest.json  tokens.npy  words.npy  item_ids.json

`version` names the words, the template and the texts. Items without text have
no token.
"""

from collections.abc import Sequence
import dataclasses
import json
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.item_texts import item_texts
from genrec_jax.core import artifact, atomic, seams
from genrec_jax.data.dataset.catalog import Catalog

_KIND = "text_tokens"


@runtime_checkable
class Words(Protocol):
  """Texts to tokens, and a vector of every token."""

  def describe(self) -> dict[str, Any]: ...

  def split(self, texts: Sequence[str]) -> Int[np.ndarray, "N T"]: ...

  def table(self) -> Float[np.ndarray, "W D"]: ...


@runtime_checkable
class LearningWords(Protocol):
  """Words that are fitted to a catalogue first."""

  def fit(
    self, texts: Sequence[str], counts: Int[np.ndarray, "N"]
  ) -> Words: ...


@dataclasses.dataclass(frozen=True)
class TextTokens:
  """Tokens by item index.

  Attributes:
    tokens: int32, row 0 (padding) is zeros.
    words: float32, vectors by token.
    item_ids: ids by row; '' for row 0.
    version: names words, template and texts.
    manifest: the whole manifest.
  """

  tokens: Int[np.ndarray, "V1 T"]
  words: Float[np.ndarray, "W D"]
  item_ids: list[str]
  version: str
  manifest: dict[str, Any]

  @property
  def space(self) -> str:
    """Names words and template: tokens of one space mean the same."""
    made = self.manifest
    return artifact.content_hash(made["words"], made["template"])

  @classmethod
  def make(
    cls,
    catalog: Catalog,
    words: Words | LearningWords,
    template: str,
    directory: str | os.PathLike,
  ) -> "TextTokens":
    """Splits the texts of a catalogue, or finds them split.

    Args:
      catalog: whose titles and attributes are read.
      words: see Words; or LearningWords, which see texts and events in the
        training part by item index.
      template: see content/item_texts.py.
      directory: the artifact's folder.

    Raises:
      ValueError: items without any text, or `directory` holds tokens of
        something else (names what differs).
    """
    directory = pathlib.Path(directory)
    texts = item_texts(catalog, template)
    if seams.offers(words, LearningWords):
      words = words.fit(texts, catalog.count)
    asked = {
      "words": words.describe(),
      "template": template,
      "texts": artifact.content_hash(catalog.ids, texts),
    }
    if directory.exists():
      return cls._found(directory, asked)
    tokens = np.array(words.split(texts), np.int32)
    tokens[[not text for text in texts]] = 0
    table = np.asarray(words.table(), np.float32)
    values = {
      "version": artifact.content_hash(asked),
      **asked,
      "shape": [*tokens.shape],
      "num_words": len(table),
      "width": table.shape[1],
      "full": int(np.all(tokens > 0, axis=1).sum()),
    }
    files = ["tokens.npy", "words.npy", "item_ids.json"]
    with artifact.new_folder(directory) as folder:
      artifact.save_array(folder / files[0], tokens)
      artifact.save_array(folder / files[1], table)
      atomic.write_text(folder / files[2], json.dumps(catalog.ids))
      artifact.save_manifest(folder, _KIND, values, files)
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "TextTokens":
    """Reads an artifact.

    Raises:
      ValueError: none there, or damaged.
    """
    directory = pathlib.Path(directory)
    manifest = artifact.load_manifest(directory, _KIND)
    return cls(
      tokens=artifact.load_array(directory / "tokens.npy"),
      words=artifact.load_array(directory / "words.npy"),
      item_ids=json.loads((directory / "item_ids.json").read_text("utf-8")),
      version=manifest["version"],
      manifest=manifest,
    )

  @classmethod
  def _found(
    cls, directory: pathlib.Path, asked: dict[str, Any]
  ) -> "TextTokens":
    found = cls.load(directory)
    holds = "tokens of other words, another template or another catalogue"
    artifact.check_asked(directory, found.manifest, asked, holds, "text_tokens")
    return found

  def for_catalog(self, item_ids: Sequence[str]) -> Int[np.ndarray, "N T"]:
    """Tokens in the order of `item_ids`; '' (padding) has none.

    Raises:
      ValueError: ids without tokens (names the first).
    """
    row = {name: i for i, name in enumerate(self.item_ids)}
    missing = [name for name in item_ids if name not in row]
    if missing:
      raise ValueError(
        f"{len(missing)} of {len(item_ids)} items have no text tokens, such as"
        f" {', '.join(map(repr, missing[:3]))}: these (version {self.version})"
        " are of another catalogue. Make them again from this one."
      )
    return self.tokens[[row[name] for name in item_ids]]
