# SPDX-License-Identifier: Apache-2.0
"""The stages before a model of item tokens: vectors, and the tokens.

    vectors = make_vectors(config, catalog, workdir)     WORKDIR/vectors
    tokens = make_tokens(config, catalog, workdir)       WORKDIR/tokens
    make_text_tokens(config, catalog, workdir)           WORKDIR/text_tokens

Each skips what is up to date, and refuses a folder that holds something else,
naming what differs: an artifact is never overwritten. The sections of a config:

    config.content  directory (default WORKDIR/vectors), template, encoder
    config.tokens   directory (default WORKDIR/tokens), tokenizer, unique, seed
                    (of the fit, default 0), assign_unseen (default False: True
                    fits on items with training events, and gives the others
                    codes by ItemTokens.assign, as if they came later), join
                    (vectors of another kind, see joined_vectors.py)
    config.text_tokens  directory (default WORKDIR/text_tokens), template, words

A table may be older than the catalogue: items that it lacks are an error until
`assign_new` has given them codes, from vectors by the encoder that the table's
were made with, which it keeps. A tokenizer, or what is joined, with an empty
`workdir` is the (last) run that config.before names, in WORKDIR.
"""

from collections.abc import Collection, Mapping, Sequence
import os
import pathlib
from typing import Any

from absl import logging
import numpy as np

from genrec_jax.content.item_texts import item_texts
from genrec_jax.content.item_vectors import ItemVectors, LearningEncoder
from genrec_jax.content.text_tokens import TextTokens
from genrec_jax.core import artifact, atomic, seams
from genrec_jax.core.build import build
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.base import MadeByRun, MadeOfData

_KEYS = {
  "content": ("directory", "template", "encoder"),
  "tokens": (
    *("directory", "tokenizer", "unique", "seed", "assign_unseen"),
    "join",
  ),
  "text_tokens": ("directory", "template", "words"),
}
_NEEDED = {
  "content": ("template", "encoder"),
  "tokens": ("tokenizer",),
  "text_tokens": ("template", "words"),
}
# Where it lies in WORKDIR, where the section does not say.
_FOLDERS = {
  "content": "vectors",
  "tokens": "tokens",
  "text_tokens": "text_tokens",
}


def directory_of(
  config: Mapping[str, Any], section: str, workdir: str | os.PathLike
) -> pathlib.Path:
  """Where the artifact of a section of _KEYS lies.

  Raises:
    ValueError: the config has no such section, or one with unknown keys.
  """
  if not config.get(section):
    raise ValueError(
      f"the config has no section {section!r}, which this needs: see"
      " configs/rqkmeans_amazon.py."
    )
  for key in config[section]:
    if key not in _KEYS[section]:
      hint = choices_hint(key, _KEYS[section])
      raise ValueError(f"unknown key {key!r} in config.{section}.{hint}")
  for key in _NEEDED[section]:
    if key not in config[section]:
      raise ValueError(f"config.{section} needs {key}.")
  named = config[section].get("directory")
  return (
    pathlib.Path(named) if named else pathlib.Path(workdir) / _FOLDERS[section]
  )


def prepared(config: Mapping[str, Any], workdir: str | os.PathLike) -> Catalog:
  """The items of a config's data, prepared where they are not."""
  if config.get("prepared"):
    return Catalog(config["prepared"])
  directory = pathlib.Path(workdir) / "data"
  prepare(
    build(config["data"], where="config.data"),
    build(config["split"], where="config.split"),
    directory,
    **config.get("filter", {}),
  )
  return Catalog(directory)


def make_all(config: Mapping[str, Any], workdir: str | os.PathLike) -> None:
  """Makes the vectors and tokens that a config has sections of.

  Raises:
    ValueError: as make_vectors and make_tokens.
  """
  if config.get("tokens"):
    make_tokens(config, prepared(config, workdir), workdir)
  elif config.get("content"):
    make_vectors(config, prepared(config, workdir), workdir)
  if config.get("text_tokens"):
    make_text_tokens(config, prepared(config, workdir), workdir)


def make_text_tokens(
  config: Mapping[str, Any], catalog: Catalog, workdir: str | os.PathLike
) -> TextTokens:
  """Tokens of the items' texts, made where they are not there.

  Raises:
    ValueError: a bad section, or a folder with other tokens.
  """
  directory = directory_of(config, "text_tokens", workdir)
  node = config["text_tokens"]
  words = build(node["words"], where="config.text_tokens.words")
  return TextTokens.make(catalog, words, node["template"], directory)


def make_vectors(
  config: Mapping[str, Any], catalog: Catalog, workdir: str | os.PathLike
) -> ItemVectors:
  """Vectors of a catalogue's items, made where they are not there.

  Where there is a table of tokens, its encoder is taken, and vectors of an
  earlier catalogue stay: those of this one go into a folder beside them.

  Raises:
    ValueError: a bad section, or a folder with other vectors.
  """
  directory = directory_of(config, "content", workdir)
  node = config["content"]
  encoder = build(node["encoder"], where="config.content.encoder")
  tokens = None
  if config.get("tokens"):
    place = directory_of(config, "tokens", workdir)
    tokens = ItemTokens.load(place) if place.exists() else None
  if tokens is not None:
    made = tokens.manifest["vectors"]
    asked = encoder.describe(), node["template"]
    if asked == (made["encoder"], made["template"]):
      return _vectors_of_table(config, catalog, directory, tokens)
  if directory.exists():
    logging.info("%s is there", directory)
  return ItemVectors.make(catalog, encoder, node["template"], directory)


def token_vectors(
  config: Mapping[str, Any], catalog: Catalog, workdir: str | os.PathLike
) -> ItemVectors:
  """The vectors that tokens are made of: those of content, and what is joined.

  Raises:
    ValueError: as make_vectors, and what joining raises.
  """
  vectors = make_vectors(config, catalog, workdir)
  join = _join(config, workdir)
  return vectors if join is None else join.join(vectors)


def _join(config: Mapping[str, Any], workdir: str | os.PathLike) -> Any:
  node = config["tokens"].get("join")
  if not node:
    return None
  items = of_run_before(node["items"], "tokens.join.items", config, workdir)
  return build({**node, "items": items}, where="config.tokens.join")


def check_same_data(source: Any, catalog: Catalog, where: str) -> None:
  """Raises a ValueError where a run has learned from another data set.

  Events that this one holds out may have been among those.

  Args:
    source: what the run has made.
    catalog: of this data set.
    where: the source stands in the config.
  """
  if not seams.offers(type(source), MadeOfData):
    return
  theirs, ours = source.data_fingerprint, catalog.fingerprint
  if theirs != ours:
    raise ValueError(
      f"{where}: the run in {source.workdir} was trained on other data than"
      f" this (fingerprints {theirs} and {ours}), so it may have seen what is"
      " held out here. Train it on the same data, split and filter."
    )


def _vectors_of_table(
  config: Mapping[str, Any],
  catalog: Catalog,
  directory: pathlib.Path,
  tokens: ItemTokens,
) -> ItemVectors:
  """Vectors in the space of a table's, whatever the catalogue is now."""
  node, template = config["content"]["encoder"], config["content"]["template"]
  texts = artifact.content_hash(catalog.ids, item_texts(catalog, template))
  place = directory
  if directory.exists():
    found = ItemVectors.load(directory)
    made = tokens.manifest["vectors"]
    same_space = found.space == made.get("content_space", made["space"])
    if same_space and found.manifest["texts"] == texts:
      return found
    place = directory.with_name(f"{directory.name}-{texts}")
  encoder = build(node, where="config.content.encoder")
  if seams.offers(encoder, LearningEncoder) and not encoder.path:
    kept = tokens.encoder
    if kept is None and directory.exists() and same_space:
      kept = found.encoder
    if kept is None:
      raise ValueError(
        f"{tokens.directory} does not hold the encoder of its vectors: let path"
        " of config.content.encoder be the folder encoder/ of those that it was"
        f" made from (version {tokens.manifest['vectors']['version']})."
      )
    encoder = build({**node, "path": str(kept)}, where="config.content.encoder")
  logging.info("vectors of the catalogue, by the table's encoder: %s", place)
  cache = directory.with_name(f"{directory.name}_cache")
  return ItemVectors.make(catalog, encoder, template, place, cache=cache)


def make_tokens(
  config: Mapping[str, Any],
  catalog: Catalog,
  workdir: str | os.PathLike,
  hold_out: Collection[str] = (),
) -> ItemTokens:
  """Tokens of a catalogue's items, made where they are not there.

  Args:
    config: plain nested dict.
    catalog: its items get codes.
    workdir: of the run.
    hold_out: ids of items that the table is made without.

  Raises:
    ValueError: a bad section, a folder with other tokens, or a table that
      lacks items of the catalogue.
  """
  directory = directory_of(config, "tokens", workdir)
  # Built first: encoding takes minutes, and a misspelt option none.
  node = config["tokens"]
  tokenizer = _tokenizer(config, pathlib.Path(workdir))
  unique = _unique(node)
  seed = node.get("seed", 0)
  vectors = token_vectors(config, catalog, workdir)
  out = set(hold_out)
  later = []
  if node.get("assign_unseen"):
    unseen = np.flatnonzero(catalog.count[1:] == 0) + 1
    later = [catalog.ids[i] for i in unseen if catalog.ids[i] not in out]
  if not directory.exists():
    check_same_data(tokenizer, catalog, "config.tokens.tokenizer")
    if (join := _join(config, workdir)) is not None:
      check_same_data(join.items, catalog, "config.tokens.join.items")
    # Several steps to one artifact: half a table would pass for a whole one.
    with atomic.new_folder(directory) as partial:
      tokens = ItemTokens.make(
        partial, vectors, tokenizer, unique, seed=seed, hold_out={*out, *later}
      )
      if later:
        tokens.assign(later, vectors)
    return ItemTokens.load(directory)
  tokens = ItemTokens.load(directory)
  _check_table(tokens, config, workdir, catalog, vectors)
  tokens.for_catalog([name for name in catalog.ids if name not in out])
  logging.info(
    "%s is there: version %s, revision %d",
    directory,
    tokens.version,
    tokens.revision,
  )
  return tokens


def _tokenizer(config: Mapping[str, Any], workdir: pathlib.Path) -> Any:
  node = config["tokens"]["tokenizer"]
  node = of_run_before(node, "tokens.tokenizer", config, workdir)
  return build(node, where="config.tokens.tokenizer")


def of_run_before(
  node: Mapping[str, Any],
  key: str,
  config: Mapping[str, Any],
  workdir: str | os.PathLike,
  field: str = "workdir",
) -> dict[str, Any]:
  """A node of a config with the folder of the run that it leaves open.

  That is the last one of config.before by name, the order in which they are
  trained: it may itself build on those ahead.

  Args:
    node: a field of "" is left open.
    key: of the node, below config.
    config: plain nested dict.
    workdir: of the run.
    field: of the node, that holds the folder.

  Raises:
    ValueError: it is left open, and config.before names no run.
  """
  if node.get(field) != "":
    return dict(node)
  names = sorted(config.get("before") or {})
  if not names:
    raise ValueError(
      f"config.{key}.{field} is empty, and config.before={names} does not name"
      " the one run that it could be: set it."
    )
  return {**node, field: str(pathlib.Path(workdir) / names[-1])}


def _identity(tokenizer: Any, vectors: ItemVectors) -> dict[str, Any]:
  """What a table's manifest says if it was made with this tokenizer."""
  if not seams.offers(type(tokenizer), MadeByRun):
    return {"tokenizer": artifact.describe(tokenizer)}
  # Trained by a run: where that lies says nothing, its parameters all.
  if not pathlib.Path(tokenizer.workdir).exists():
    logging.warning(
      "%s is gone: whether the tokens are those of its tokenizer is not known",
      tokenizer.workdir,
    )
    return {}
  fitted = tokenizer.fit(vectors.vectors[1:], seed=0)
  return {"tokenizer_fingerprint": fitted.fingerprint}


def assign_new(
  config: Mapping[str, Any], catalog: Catalog, workdir: str | os.PathLike
) -> ItemTokens:
  """Gives codes to the items of a catalogue that its table lacks.

  Raises:
    ValueError: no table, another vector space, or no free codes.
  """
  tokens = ItemTokens.load(directory_of(config, "tokens", workdir))
  vectors = token_vectors(config, catalog, workdir)
  known = set(tokens.item_ids)
  new = [name for name in catalog.ids[1:] if name not in known]
  if not new:
    logging.info("every item has codes")
    return tokens
  _check_table(tokens, config, workdir, catalog, vectors)
  logging.info("codes for %d new items", len(new))
  return tokens.assign(new, vectors)


def retire(
  config: Mapping[str, Any],
  workdir: str | os.PathLike,
  item_ids: Sequence[str],
) -> ItemTokens:
  """Takes items out of what is live.

  Raises:
    ValueError: no table, an empty list, or items that are not live.
  """
  tokens = ItemTokens.load(directory_of(config, "tokens", workdir))
  if not item_ids:
    raise ValueError("the list of items to retire names none.")
  logging.info("retiring %d items", len(item_ids))
  return tokens.retire(item_ids)


def _check_table(
  tokens: ItemTokens,
  config: Mapping[str, Any],
  workdir: str | os.PathLike,
  catalog: Catalog,
  vectors: ItemVectors,
) -> None:
  """Raises where a table is not what the config would have made."""
  node = config["tokens"]
  wanted = {
    "unique": artifact.describe(_unique(node)),
    "seed": node.get("seed", 0),
    "vectors": {"space": vectors.space},
  }
  tokenizer = _tokenizer(config, pathlib.Path(workdir))
  _check_same(tokens, wanted | _identity(tokenizer, vectors))
  if not node.get("assign_unseen"):
    return
  fitted = tokens.item_ids[1 : 1 + tokens.history[0]["items"]]
  unseen = {
    catalog.ids[i] for i in np.flatnonzero(catalog.count == 0) if i
  }.intersection(fitted)
  if unseen:
    raise ValueError(
      f"{tokens.directory} was fitted on {len(unseen)} items that have no event"
      f" in this training part, such as {min(unseen)!r}, and"
      " config.tokens.assign_unseen wants it not to be: make it anew in another"
      " config.tokens.directory."
    )


def _unique(node: Mapping[str, Any]) -> Any:
  if node.get("unique") is None:
    return None
  return build(node["unique"], where="config.tokens.unique")


def _check_same(tokens: ItemTokens, wanted: Mapping[str, Any]) -> None:
  found = tokens.manifest | {
    "vectors": {"space": tokens.manifest["vectors"]["space"]}
  }
  lines = [
    f"  {key}: {found[key]!r} there, {value!r} wanted"
    for key, value in wanted.items()
    if found[key] != value
  ]
  if lines:
    raise ValueError(
      f"{tokens.directory} holds tokens (version {tokens.version}) of another"
      " kind:\n" + "\n".join(lines) + "\nSet"
      " --config.tokens.directory or --workdir to another folder."
    )
