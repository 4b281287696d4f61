# SPDX-License-Identifier: Apache-2.0
"""What a run reads from disk beside its histories: vectors and codes of items.

    WORKDIR/vectors   item vectors   config.content.directory says otherwise
    WORKDIR/tokens    item tokens    config.tokens.directory likewise

Opened when a layout or a retriever first asks. The versions of what was opened
are kept with every checkpoint: codes of another version mean other items, so a
model refuses them.
"""

from collections.abc import Mapping
import dataclasses
import functools
import pathlib
from typing import Any

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.semantic_ids.item_tokens import ItemTokens


@dataclasses.dataclass(frozen=True)
class Artifacts:
  """Vectors and codes of the items of a data set, opened at first use.

  Attributes:
    histories: the prepared data set.
    vectors_directory: of the item vectors.
    tokens_directory: of the item tokens.
  """

  histories: Histories
  vectors_directory: pathlib.Path
  tokens_directory: pathlib.Path

  @classmethod
  def of(
    cls, config: Mapping[str, Any], workdir: pathlib.Path, histories: Histories
  ) -> "Artifacts":
    """The artifacts that a config names."""

    def directory(section, default):
      return pathlib.Path(config[section].get("directory") or workdir / default)

    return cls(
      histories,
      directory("content", "vectors"),
      directory("tokens", "tokens"),
    )

  @functools.cached_property
  def catalog(self) -> Catalog:
    """The items that indices mean."""
    return Catalog(self.histories.directory)

  @functools.cached_property
  def item_vectors(self) -> ItemVectors:
    """The item vectors.

    Raises:
      ValueError: none there; the message says how to make them.
    """
    return ItemVectors.load(self.vectors_directory)

  @functools.cached_property
  def item_tokens(self) -> ItemTokens:
    """The item tokens; ValueError likewise."""
    return ItemTokens.load(self.tokens_directory)

  @functools.cached_property
  def vectors(self) -> Float[np.ndarray, "V1 D"]:
    """Vectors by item index; row 0 is zeros."""
    return self.item_vectors.for_catalog(self.catalog.ids)

  @functools.cached_property
  def codes(self) -> Int[np.ndarray, "V1 M"]:
    """Codes by item index; row 0 is zeros."""
    return self.item_tokens.for_catalog(self.catalog.ids)

  @functools.cached_property
  def live(self) -> Bool[np.ndarray, "V1"]:
    """Whether an item may be recommended; False for row 0."""
    return self.item_tokens.live_for(self.catalog.ids)

  @property
  def versions(self) -> dict[str, str]:
    """Versions of what has been opened so far, as `check` reads them.

    "vectors" and "tokens", and as "lineage" the revision of the table of tokens
    and the hash of its history.
    """
    opened = {"vectors": "item_vectors", "tokens": "item_tokens"}
    found = {
      kind: getattr(self, name).version
      for kind, name in opened.items()
      if name in self.__dict__
    }
    if "tokens" in found:
      tokens = self.item_tokens
      found["lineage"] = f"{tokens.revision} {tokens.head}"
    return found

  def check(self, versions: Mapping[str, str]) -> None:
    """Raises a ValueError where a model was trained with other versions.

    A table of tokens may have grown since: codes of a version keep their
    meaning. It must not have grown out of another past.
    """
    now = self.versions
    for kind in ("vectors", "tokens"):
      trained = versions.get(kind)
      if trained is None or now.get(kind, trained) == trained:
        continue
      folder = getattr(self, f"{kind}_directory")
      raise ValueError(
        f"the model was trained with {kind} of version {trained}, and {folder}"
        f" holds version {now[kind]}: their codes mean other items. Bring"
        f" version {trained} back, or train again in another --workdir."
      )
    if "lineage" in versions and "lineage" in now:
      revision, _, head = versions["lineage"].partition(" ")
      self.item_tokens.check_extends(int(revision), head)
