# SPDX-License-Identifier: Apache-2.0
"""The sections of a config: all there, no other, and the same when resumed.

    name, title, seed, prepared     plain values; a title is for readers, the
                                    model's published name
    data, split, filter             what histories are made from
    content, tokens, text_tokens    vectors, codes and words of items
    collaborative                   vectors of a run
    lists                           other retrievers' lists, and where they lie
    user_vectors                    what a trained model says of users
    before                          what is trained first (genrec run)
    pipeline, system, objective, optimizer, mesh, retrieval
    rollout, guards                 samples to train on, and what ends it
    train                           how long, and what is watched
    requests, evals                 what is asked at a time, and measured
    value                           what an action is worth, for rankers

A run belongs to its config: in a workdir only how it is trained, searched and
measured may change from one start to the next (`_FREE`), not what is learnt.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from genrec_jax.core import atomic, sealed
from genrec_jax.core.build import to_plain
from genrec_jax.core.dotted import differences, flat
from genrec_jax.core.names import check_stored
from genrec_jax.core.suggest import choices_hint

# Of config.json: 1 named modules by their paths, 2 has public names.
FORMAT = 2
_SECTIONS = {
  "name": str,
  "title": str,
  "seed": int,
  "prepared": str,
  "data": dict,
  "split": dict,
  "filter": dict,
  "pipeline": dict,
  "system": dict,
  "objective": dict,
  "optimizer": dict,
  "train": dict,
  "requests": dict,
  "evals": dict,
  "mesh": dict,
  "content": dict,
  "collaborative": dict,
  "tokens": dict,
  "text_tokens": dict,
  "lists": dict,
  "user_vectors": dict,
  "retrieval": dict,
  "before": dict,
  "value": dict,
  "rollout": dict,
  "guards": dict,
}
# Sections that most configs have no use for.
_OPTIONAL = (
  "requests",
  "mesh",
  "content",
  "collaborative",
  "tokens",
  "text_tokens",
  "lists",
  "user_vectors",
  "retrieval",
  "before",
  "value",
  "rollout",
  "guards",
)
# What may change between two starts of one run without making it another.
# Where artifacts lie does not matter: their versions are compared.
_FREE = (
  "title",
  "train.",
  "requests.",
  "evals.",
  "mesh.",
  "retrieval.",
  "before.",
  "value.",
  "prepared",
  "content.directory",
  "collaborative.workdir",
  "tokens.directory",
  "text_tokens.directory",
  "lists.",
  "user_vectors.",
  "tokens.tokenizer.workdir",
  "tokens.join.items.workdir",
)


def check_config(config: Mapping[str, Any] | ConfigDict) -> dict[str, Any]:
  """A plain copy of a config whose sections are all there and no other."""
  config = to_plain(config)
  _check_names(config, "config")
  for key in config:
    if key not in _SECTIONS:
      hint = choices_hint(key, _SECTIONS)
      raise ValueError(f"unknown key {key!r} in the config.{hint}")
  config = {"title": "", **{name: {} for name in _OPTIONAL}, **config}
  missing = [key for key in _SECTIONS if key not in config]
  if missing:
    raise ValueError(
      f"the config lacks {', '.join(missing)}."
      + (
        " It makes item tokens and trains nothing: use"
        " genrec tokenize or genrec run."
        if "system" in missing and config["tokens"]
        else ""
      )
    )
  return config


def read_config(path: pathlib.Path) -> dict[str, Any]:
  """The config of a workdir.

  Raises:
    ValueError: damaged, or written by an earlier or a newer version.
  """
  fix = (
    "Delete it and start genrec train again with the --config that the run"
    " was trained with, which writes it anew."
  )
  config = sealed.read_json(path, fix)
  written = config.get("format", 1)
  if not isinstance(written, int):
    raise ValueError(
      f"{path} is no config of a workdir: its format is no number. {fix}"
    )
  if written > FORMAT:
    raise ValueError(
      f"{path} was written by a newer version of genrec_jax (format {written};"
      f" this one reads {FORMAT}): upgrade the package."
    )
  if written < FORMAT:
    _check_names(config, str(path))
    raise ValueError(
      f"{path} was written by an earlier version of genrec_jax (format"
      f" {written}; this one reads {FORMAT}): train again in another --workdir,"
      " or go on with the version that made it."
    )
  config = sealed.unseal(config, path, fix)
  del config["format"]
  # A section that was there once, and that a run had no use for.
  config = {k: v for k, v in config.items() if k in _SECTIONS or v != {}}
  try:
    return check_config(config)
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error


def write_config(path: pathlib.Path, config: Mapping[str, Any]) -> None:
  """Writes a workdir's config, whole or not at all."""
  text = json.dumps(sealed.seal({"format": FORMAT, **config}), indent=2)
  atomic.write_text(path, text + "\n")


def _check_names(node: Any, where: str) -> None:
  """Raises where a name is the path of a module."""
  if isinstance(node, Mapping):
    for key, value in node.items():
      if key == "name" and isinstance(value, str):
        check_stored(value, f"{where}.name")
      else:
        _check_names(value, f"{where}.{key}")
  elif isinstance(node, list | tuple):
    for place, value in enumerate(node):
      _check_names(value, f"{where}[{place}]")


def check_same(old: Mapping, new: Mapping, path: pathlib.Path) -> None:
  """Raises a ValueError where a workdir belongs to another config.

  Args:
    old: the config that is there.
    new: the one that is asked for.
    path: of the file that holds the old one.
  """
  a, b = flat(old), flat(new)
  lines = [
    f"  {key}: {a.get(key, 'absent')!r} there, {b.get(key, 'absent')!r} now"
    for key in differences(a, b)
    if not key.startswith(_FREE)
  ]
  if lines:
    raise ValueError(
      f"{path.parent} belongs to a run of another config:\n"
      + "\n".join(lines)
      + "\nUse another --workdir, or start with the config it has."
    )
