# SPDX-License-Identifier: Apache-2.0
"""One vector per item, made from its text: an artifact on disk.

    ItemVectors.make(catalog, TextEncoder(), "{title}", "WORKDIR/vectors")
    vectors = ItemVectors.load("WORKDIR/vectors")
    vectors.vectors[i]                      float32 (V + 1, D), row 0 is zeros

    WORKDIR/vectors/  manifest.json  vectors.npy  item_ids.json  encoder/

`version` names encoder, template and texts; `space` names encoder and template
alone: vectors of one space may be compared, whatever the items. An encoder
with `fit` (TF-IDF) is fitted on the texts and kept in encoder/; what others
encoded is kept in WORKDIR/vectors_cache (content/text_cache.py). Equal texts
are encoded once. Items without text, or without a word that the encoder knows,
have the vector 0; the manifest counts both.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

from absl import logging
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.content.item_texts import TextCounts, count_texts, item_texts
from genrec_jax.content.text_cache import TextCache
from genrec_jax.core import artifact, atomic, seams
from genrec_jax.data.dataset.catalog import Catalog

_KIND = "item_vectors"


class ContentEncoder(Protocol):
  """Texts to vectors. Optional: see LearningEncoder."""

  @property
  def fingerprint(self) -> str:
    """Names the function from text to vector."""
    ...

  def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]: ...

  def describe(self) -> dict[str, Any]: ...


@runtime_checkable
class LearningEncoder(Protocol):
  """An encoder that is fitted to the texts of a catalogue.

  Attributes:
    path: a folder that a fit was saved to: then `fit` reads it; '' = none.
  """

  path: str

  def fit(self, texts: Sequence[str]) -> Any:
    """The fitted encoder, which has save(directory)."""

  def describe(self) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class ItemVectors:
  """Vectors by item index.

  Attributes:
    vectors: float32, row 0 (padding) is zeros.
    item_ids: ids by row; '' for row 0.
    version: names encoder, template and texts.
    space: names encoder and template.
    manifest: the whole manifest: encoder, template, counts of texts.
    encoder: where the fitted encoder is kept; None where it was not fitted.
  """

  vectors: Float[np.ndarray, "V1 D"]
  item_ids: list[str]
  version: str
  space: str
  manifest: dict[str, Any]
  encoder: pathlib.Path | None = None

  @classmethod
  def make(
    cls,
    catalog: Catalog,
    encoder: Any,
    template: str,
    directory: str | os.PathLike,
    *,
    cache: str | os.PathLike | None = None,
  ) -> "ItemVectors":
    """Encodes the items of a catalogue, or finds them encoded.

    Args:
      catalog: whose titles and attributes are read.
      encoder: see ContentEncoder.
      template: see content/item_texts.py.
      directory: the artifact's folder.
      cache: folder of what an encoder without a fit has encoded; None =
        directory_cache.

    Raises:
      ValueError: items without any text, or `directory` holds other vectors
        (names what differs).
    """
    directory = pathlib.Path(directory)
    texts = item_texts(catalog, template)
    asked = {
      "encoder": encoder.describe(),
      "template": template,
      "texts": artifact.content_hash(catalog.ids, texts),
    }
    if directory.exists():
      return cls._found(directory, asked)
    counts = count_texts(texts)
    learns = seams.offers(encoder, LearningEncoder)
    if learns:
      encoder = encoder.fit(_distinct(texts))
      encode = encoder.encode
    else:
      folder = cache or directory.with_name(directory.name + "_cache")
      encode = functools.partial(TextCache(folder).encode, encoder)
    vectors = _by_item(encode, texts)
    unknown = [
      t for t, v in zip(texts, vectors, strict=True) if t and not v.any()
    ]
    _report(counts, unknown)
    space = artifact.content_hash(encoder.fingerprint, template)
    values = {
      "version": artifact.content_hash(space, asked["texts"]),
      "space": space,
      **asked,
      "counts": {**dataclasses.asdict(counts), "zero": len(unknown)},
      "width": vectors.shape[1],
    }
    files = ["vectors.npy", "item_ids.json"]
    with artifact.new_folder(directory) as folder:
      artifact.save_array(folder / files[0], vectors)
      atomic.write_text(folder / files[1], json.dumps(catalog.ids))
      if learns:
        (folder / "encoder").mkdir()
        encoder.save(folder / "encoder")
        files += [f"encoder/{f.name}" for f in (folder / "encoder").iterdir()]
      artifact.save_manifest(folder, _KIND, values, files)
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "ItemVectors":
    """Reads an artifact.

    Raises:
      ValueError: none there, or damaged.
    """
    directory = pathlib.Path(directory)
    manifest = artifact.load_manifest(directory, _KIND)
    vectors = artifact.load_array(directory / "vectors.npy")
    ids = json.loads((directory / "item_ids.json").read_text("utf-8"))
    encoder = directory / "encoder"
    return cls(
      vectors=vectors,
      item_ids=ids,
      version=manifest["version"],
      space=manifest["space"],
      manifest=manifest,
      encoder=encoder if encoder.is_dir() else None,
    )

  @classmethod
  def _found(
    cls, directory: pathlib.Path, asked: dict[str, Any]
  ) -> "ItemVectors":
    found = cls.load(directory)
    holds = "vectors of another encoder, template or catalogue"
    artifact.check_asked(directory, found.manifest, asked, holds, "content")
    return found

  @functools.cached_property
  def _row(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.item_ids)}

  def rows(self, item_ids: Sequence[str]) -> Int[np.ndarray, "N"]:
    """Row of each id; '' is row 0.

    Raises:
      ValueError: ids without a vector (names the first).
    """
    missing = [name for name in item_ids if name not in self._row]
    if missing:
      raise ValueError(
        f"{len(missing)} of {len(item_ids)} items have no vector, such as"
        f" {', '.join(map(repr, missing[:3]))}: these vectors (version"
        f" {self.version}) are of another catalogue. Make them again from this"
        " one."
      )
    return np.array([self._row[name] for name in item_ids], np.int32)

  def for_catalog(self, item_ids: Sequence[str]) -> Float[np.ndarray, "N D"]:
    """Vectors in the order of `item_ids`; '' (padding) has zeros."""
    return self.vectors[self.rows(item_ids)]


def _report(counts: TextCounts, unknown: Sequence[str]) -> None:
  for text, number in counts.examples[:3]:
    logging.warning("%d items have one text: %r", number, text[:80])
  if counts.without_text:
    logging.warning(
      "%d of %d items have no text: their vector is 0",
      counts.without_text,
      counts.items,
    )
  if unknown:
    logging.warning(
      "%d of %d items have a text without a word that the encoder knows, such"
      " as %r: their vector is 0",
      len(unknown),
      counts.items,
      unknown[0][:80],
    )


def _distinct(texts: Sequence[str]) -> list[str]:
  return sorted(set(texts) - {""})


def _by_item(
  encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]
) -> Float[np.ndarray, "V1 D"]:
  distinct = _distinct(texts)
  encoded = encode(distinct)
  bad = np.flatnonzero(~np.isfinite(encoded).all(axis=1))
  if len(bad):
    raise ValueError(
      f"the encoder gave a vector that is not finite for {distinct[bad[0]]!r}."
    )
  vectors = np.zeros((len(texts), encoded.shape[1]), np.float32)
  place = {text: i for i, text in enumerate(distinct)}
  rows = [i for i, text in enumerate(texts) if text]
  vectors[rows] = encoded[[place[texts[i]] for i in rows]]
  return vectors
