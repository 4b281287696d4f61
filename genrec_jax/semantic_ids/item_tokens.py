# SPDX-License-Identifier: Apache-2.0
"""The codes of all items, by item: a versioned artifact with a history.

    tokens = ItemTokens.make("WORKDIR/tokens", vectors, tokenizer, unique)
    tokens = tokens.assign(new_ids, vectors)     codes of the others stay
    tokens = tokens.retire(old_ids)              their codes stay theirs
    codes_NM = ItemTokens.load("WORKDIR/tokens").for_catalog(catalog.ids)

    WORKDIR/tokens/
      manifest.json   version, level sizes, options, checksums
      history.jsonl   one line per revision, each naming the one before
      revisions/      000001.npz: item_ids, codes; then what each one changed
      tokenizer/      the fitted tokenizer, for assign
      encoder/        the fitted text encoder, where it was fitted

`version` names the meaning of codes: vectors, tokenizer, uniqueness rule and
the first revision. A model is trained for one version and refuses another;
later revisions only add and retire items. Reading needs no tokenizer. `head` is
the hash of the last history line: tables with one `version` that grew apart
have different heads. (Over 350 lines: a table and its changes keep the same
promises.)
"""

from collections.abc import Collection, Sequence
import dataclasses
import functools
import os
import pathlib
import shutil
from typing import Any

from absl import logging
from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import artifact, seams
from genrec_jax.core.build import build
from genrec_jax.semantic_ids import revisions
from genrec_jax.semantic_ids.quantizers import base as tokenizers
from genrec_jax.semantic_ids.quantizers.base import KnowsFit, MadeByRun

_KIND = "item_tokens"


@dataclasses.dataclass(frozen=True)
class ItemTokens:
  """Codes by row; row 0 is padding, others are items as they were added.

  Attributes:
    codes: 0-based within their level; zeros in row 0.
    level_sizes: codes of each level.
    live: False for padding and retired items.
    item_ids: ids by row; '' for row 0.
    version: names the meaning of codes.
    history: its entries, oldest first.
    manifest: the whole manifest.
    directory: where it lies.
  """

  codes: Int[np.ndarray, "V1 M"]
  level_sizes: tuple[int, ...]
  live: Bool[np.ndarray, "V1"]
  item_ids: list[str]
  version: str
  history: list[dict[str, Any]]
  manifest: dict[str, Any]
  directory: pathlib.Path

  @property
  def revision(self) -> int:
    """Number of history entries."""
    return len(self.history)

  @property
  def head(self) -> str:
    """Hash of the last history line, which covers all before it."""
    return revisions.line_hash(self.history[-1])

  @classmethod
  def make(
    cls,
    directory: str | os.PathLike,
    vectors: ItemVectors,
    tokenizer: Any,
    unique: Any = None,
    *,
    seed: int = 0,
    hold_out: Collection[str] = (),
  ) -> "ItemTokens":
    """Fits a tokenizer and codes all items.

    Args:
      directory: must not exist yet.
      vectors: of the items.
      tokenizer: options with fit, see semantic_ids/quantizers/base.py.
      unique: a rule of semantic_ids/uniqueness.py; None leaves collisions.
      seed: of the fit.
      hold_out: ids of items to leave out of fit and table, for `assign` later.

    Raises:
      ValueError: what tokenizer and rule raise, unknown items in hold_out, or
        codes outside their levels.
    """
    directory = pathlib.Path(directory)
    # Before the fit, which may take long.
    if directory.exists():
      raise ValueError(f"{directory} exists: load it, or name another folder.")
    ids = _kept(vectors, hold_out)
    _check_made_from(tokenizer, vectors)
    vectors_ND = vectors.for_catalog(ids)
    fitted = tokenizer.fit(vectors_ND, seed=seed)
    codes_NM, sizes = _unique_codes(fitted, unique, vectors_ND, None)
    options = {
      "tokenizer": artifact.describe(tokenizer),
      "tokenizer_fingerprint": fitted.fingerprint,
      "unique": artifact.describe(unique),
      "seed": seed,
      "vectors": {
        "version": vectors.version,
        "space": vectors.space,
        "encoder": vectors.manifest["encoder"],
        "template": vectors.manifest["template"],
        # Of the vectors' content, where more was joined to it.
        **{
          key: vectors.manifest[key]
          for key in ("content_space",)
          if key in vectors.manifest
        },
      },
    }
    # Contents alone: where weights lay does not change what codes mean.
    version = artifact.content_hash(
      vectors.version,
      fitted.fingerprint,
      options["unique"],
      list(sizes),
      ids,
      codes_NM,
    )
    with artifact.new_folder(directory) as folder:
      fitted.save(folder / "tokenizer")
      (folder / "revisions").mkdir()
      revisions.append(folder, [], "made", ids, codes_NM, vectors.version)
      if vectors.encoder is not None:
        shutil.copytree(vectors.encoder, folder / "encoder")
      files = sorted(
        str(file.relative_to(folder))
        for part in ("tokenizer", "encoder")
        for file in folder.glob(f"{part}/*")
      )
      artifact.save_manifest(
        folder,
        _KIND,
        {"version": version, "level_sizes": list(sizes), **options},
        files,
      )
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "ItemTokens":
    """Reads a table at its last revision.

    Raises:
      ValueError: none there, or manifest, history or a revision is damaged.
    """
    directory = pathlib.Path(directory)
    manifest = artifact.load_manifest(directory, _KIND)
    history = revisions.read_history(directory)
    row: dict[str, int] = {"": 0}
    blocks = [np.zeros((1, len(manifest["level_sizes"])), np.int32)]
    dead: set[str] = {""}
    for entry in history:
      ids, codes_NM = revisions.read(directory, entry)
      if entry["kind"] == "retired":
        dead.update(ids)
        continue
      dead.difference_update(ids)
      new = [i for i, name in enumerate(ids) if name not in row]
      row.update({ids[i]: len(row) + n for n, i in enumerate(new)})
      blocks.append(codes_NM[new])
    item_ids = list(row)
    return cls(
      codes=np.concatenate(blocks),
      level_sizes=tuple(manifest["level_sizes"]),
      live=np.array([name not in dead for name in item_ids]),
      item_ids=item_ids,
      version=manifest["version"],
      history=history,
      manifest=manifest,
      directory=directory,
    )

  def assign(
    self,
    item_ids: Sequence[str],
    vectors: ItemVectors,
    *,
    reuse_retired: bool = False,
  ) -> "ItemTokens":
    """Gives items codes without a new fit; no existing code changes.

    The frozen tokenizer codes them, the uniqueness rule finds what is free. A
    retired item comes back with the codes it had.

    Args:
      item_ids: new or retired items.
      vectors: hold the new items; of the space the table was made in.
      reuse_retired: codes of retired items count as free, but for those that
        come back in this call.

    Raises:
      ValueError: vectors of another space, items that are in the table, no
        free code, a retired item whose codes another one has got, or a table
        that another process has changed meanwhile.
    """
    self._check_ids(item_ids)
    present = [
      n for n in item_ids if n in self._row and self.live[self._row[n]]
    ]
    if present:
      raise ValueError(
        f"{len(present)} of the items have codes, which never change, such as"
        f" {present[0]!r}."
      )
    wanted = self.manifest["vectors"]
    if vectors.space != wanted["space"]:
      raise ValueError(
        f"the table was made in the vector space {wanted['space']} (encoder"
        f" {wanted['encoder']}, template {wanted['template']!r}); these vectors"
        f" are of {vectors.space} (encoder {vectors.manifest['encoder']},"
        f" template {vectors.manifest['template']!r})."
      )
    new = [name for name in item_ids if name not in self._row]
    back = [self._row[name] for name in item_ids if name in self._row]
    unique = self.manifest["unique"]
    if unique is not None:
      unique = build(unique, where="manifest.unique")
      if not unique.share_overflow:
        self._check_returning(back)
    codes_NM = np.zeros((len(item_ids), len(self.level_sizes)), np.int32)
    is_new = np.array([name not in self._row for name in item_ids])
    codes_NM[~is_new] = self.codes[back]
    if new:
      existing = np.arange(len(self.codes)) > 0
      if reuse_retired:
        existing = self.live.copy()
        # What comes back in this very call is no longer free.
        existing[back] = True
      codes_NM[is_new], _ = _unique_codes(
        self.tokenizer(),
        unique,
        vectors.for_catalog(new),
        self.codes[existing],
      )
    return self._next("assigned", item_ids, codes_NM, vectors.version)

  def _check_returning(self, rows: Sequence[int]) -> None:
    """Raises unless the codes of returning items are theirs alone."""
    live = np.flatnonzero(self.live)
    holder = {tuple(self.codes[row].tolist()): row for row in live}
    for row in rows:
      other = holder.setdefault(tuple(self.codes[row].tolist()), row)
      if other != row:
        raise ValueError(
          f"the codes of the retired item {self.item_ids[row]!r} belong to"
          f" another item now (reuse_retired), {self.item_ids[other]!r}: they"
          " cannot both be live. Retire the other one, or give this one a new"
          " id."
        )

  def retire(self, item_ids: Sequence[str]) -> "ItemTokens":
    """Takes items out of what is live; their codes stay theirs.

    Raises:
      ValueError: items that are not there or retired already.
    """
    self._check_ids(item_ids)
    gone = [
      n for n in item_ids if n not in self._row or not self.live[self._row[n]]
    ]
    if gone:
      raise ValueError(
        f"{len(gone)} of {len(item_ids)} items are not live, such as"
        f" {gone[0]!r}."
      )
    return self._next("retired", item_ids, None, None)

  def check(self, version: str, where: str = "this model") -> None:
    """Raises a ValueError unless the codes mean what `version` says."""
    if version != self.version:
      raise ValueError(
        f"{where} was trained with the item tokens {version}, the table in"
        f" {self.directory} is {self.version}: the same codes mean other items."
        " Use the table it was trained with, or train again."
      )

  def check_extends(self, revision: int, head: str) -> None:
    """Raises a ValueError unless the table went through this revision."""
    found = (
      revisions.line_hash(self.history[revision - 1])
      if 0 < revision <= self.revision
      else f"at revision {self.revision} only"
    )
    if found != head:
      raise ValueError(
        f"the table in {self.directory} does not continue the one of revision"
        f" {revision} and head {head}: it is {found}. Items were assigned in"
        " two copies of one table."
      )

  def for_catalog(
    self, item_ids: Sequence[str], *, missing: str = "error"
  ) -> Int[np.ndarray, "N M"]:
    """Codes in the order of `item_ids`; '' (padding) has zeros.

    Args:
      item_ids: such as Catalog.ids. Retired items have codes too.
      missing: 'error', or 'zeros' for items that are not in the table.

    Raises:
      ValueError: items that the table lacks (names some).
    """
    lacking = [name for name in item_ids if name not in self._row]
    if missing not in ("error", "zeros"):
      raise ValueError(f"missing={missing!r} must be 'error' or 'zeros'.")
    if lacking and missing == "error":
      raise ValueError(
        f"{len(lacking)} of {len(item_ids)} items have no codes in"
        f" {self.directory}, such as {', '.join(map(repr, lacking[:3]))}. Give"
        " them some: genrec tokenize --assign, or"
        " ItemTokens.assign(ids, vectors)."
      )
    return self.codes[[self._row.get(name, 0) for name in item_ids]]

  def live_for(self, item_ids: Sequence[str]) -> Bool[np.ndarray, "N"]:
    """Which of the items are in the table and not retired."""
    return self.live[[self._row.get(name, 0) for name in item_ids]]

  @property
  def encoder(self) -> pathlib.Path | None:
    """Where the text encoder of its vectors is kept; None where it was not
    fitted."""
    folder = self.directory / "encoder"
    return folder if folder.is_dir() else None

  def tokenizer(self) -> Any:
    """The fitted tokenizer."""
    return tokenizers.load(self.directory / "tokenizer")

  @functools.cached_property
  def _row(self) -> dict[str, int]:
    return {name: i for i, name in enumerate(self.item_ids)}

  def _check_ids(self, item_ids: Sequence[str]) -> None:
    if len(set(item_ids)) != len(item_ids) or "" in item_ids:
      raise ValueError("item ids must not be empty or repeat.")
    if not len(item_ids):
      raise ValueError("no item ids were given.")

  def _next(
    self,
    kind: str,
    item_ids: Sequence[str],
    codes_NM: np.ndarray | None,
    vectors_version: str | None,
  ) -> "ItemTokens":
    with revisions.locked(self.directory):
      history = revisions.read_history(self.directory)
      if history != self.history:
        raise ValueError(
          f"{self.directory} is at revision {len(history)}, this was loaded at"
          f" {self.revision}: load it again."
        )
      revisions.append(
        self.directory, history, kind, item_ids, codes_NM, vectors_version
      )
    return type(self).load(self.directory)


def _kept(vectors: ItemVectors, hold_out: Collection[str]) -> list[str]:
  vectors.rows(list(hold_out))
  out = set(hold_out)
  ids = [name for name in vectors.item_ids[1:] if name not in out]
  if not ids:
    raise ValueError("no item is left to fit a tokenizer on.")
  return ids


def _check_made_from(tokenizer: Any, vectors: ItemVectors) -> None:
  if not seams.offers(type(tokenizer), MadeByRun):
    return
  made_from = tokenizer.vectors_version
  if made_from != vectors.version:
    raise ValueError(
      f"{artifact.describe(tokenizer)} was trained with the vectors"
      f" {made_from}, these are {vectors.version}."
    )


def _unique_codes(
  fitted: Any,
  unique: Any,
  vectors_ND: np.ndarray,
  existing_KM: np.ndarray | None,
) -> tuple[np.ndarray, tuple[int, ...]]:
  """Codes after the uniqueness rule, and the level sizes after it."""
  if existing_KM is None and seams.offers(fitted, KnowsFit):
    codes_NM = fitted.fit_codes
  else:
    codes_NM = fitted.encode(vectors_ND)
  sizes = tuple(fitted.level_sizes)
  if unique is not None:

    def costs(rows):
      return fitted.last_level_costs(vectors_ND[rows])

    if existing_KM is None:
      codes_NM = unique.apply(codes_NM, sizes, costs)
    else:
      codes_NM = unique.assign(existing_KM, codes_NM, sizes, costs)
    sizes = tuple(unique.sizes(sizes))
  tokenizers.check_codes(codes_NM, sizes)
  shared = len(codes_NM) - len(np.unique(codes_NM, axis=0))
  if shared:
    logging.warning(
      "%d of %d items share all codes with another", shared, len(codes_NM)
    )
  return codes_NM.astype(np.int32), sizes
