# SPDX-License-Identifier: Apache-2.0
"""Public names: "layouts.NextItem" <-> the class, wherever its file lies.

    resolve("layouts.NextItem", "config.pipeline.layout")  -> the class
    public_name(layouts.NextItem)                          -> "layouts.NextItem"

A public name is a package and what its `__init__` lists in `__all__`. Configs,
fingerprints, tokenizers, artifacts and results hold such names and never the
path of a module, so that files may move. Names from before are refused: of
them this file knows no more than the error needs.
"""

import importlib
from typing import Any

from genrec_jax.core.suggest import choices_hint

_ROOT = "genrec_jax"
# Public package -> where it lies. The last part of the path is the name.
PACKAGES = {
  path.rpartition(".")[2]: f"{_ROOT}.{path}"
  for path in (
    "data",
    "data.dataset",
    "data.simulator",
    "data.sources",
    "data.features",
    "content",
    "semantic_ids.quantizers",
    "semantic_ids",
    "data.layouts",
    "layers",
    "backbones",
    "models",
    "objectives",
    "retrieval",
    "ranking",
    "train",
    "experiment",
    "evaluation",
    "rollout",
    "rollout.rewards",
  )
}
# Packages of before, for the error: where their classes may be now.
_BEFORE = {
  "systems": ("models",),
  "tokens": ("quantizers", "content", "semantic_ids"),
  "train": ("train", "evaluation", "experiment"),
  "data": ("layouts", "sources", "simulator", "features", "dataset", "data"),
  "backbones": ("backbones", "layers"),
}
# What is called otherwise now; for the same error.
_RENAMED = {
  "layers.action_heads.Linear": "layers.LinearHead",
  "objectives.contrastive.InBatch": "objectives.InBatchContrastive",
  "objectives.negatives.InBatch": "objectives.InBatchNegatives",
  "tokens.trained.Trained": "experiment.TrainedTokenizer",
  "train.impression_ranking.ImpressionRanking": "evaluation.ShownItems",
}


def resolve(name: str, where: str) -> Any:
  """The object behind a public name.

  Args:
    name: such as "layouts.NextItem".
    where: what the name was read from, for the error.

  Raises:
    ValueError: no such name (names the choices), or the path of a module.
  """
  package, _, attribute = name.partition(".")
  if "." in attribute:
    raise ValueError(_of_before(name, where))
  if not attribute or package not in PACKAGES:
    hint = choices_hint(package, PACKAGES)
    raise ValueError(
      f"{where}={name!r} must be 'package.Name', such as 'layouts.NextItem'."
      f"{hint}"
    )
  offered = _offered(package)
  if attribute not in offered:
    raise ValueError(
      f"{where}={name!r}: {package} offers no {attribute!r}."
      + choices_hint(attribute, offered)
    )
  return getattr(importlib.import_module(PACKAGES[package]), attribute)


def public_name(cls: Any) -> str:
  """The name under which a class or function is stored.

  A class of another package than this one keeps its module's path.

  Raises:
    ValueError: it is of this package, and no `__init__` offers it.
  """
  module, name = cls.__module__, cls.__qualname__
  if not module.startswith(f"{_ROOT}."):
    return f"{module}.{name}"
  inside = [p for p in PACKAGES.values() if module.startswith(f"{p}.")]
  place = max(inside, key=len, default="")
  alias = place.rpartition(".")[2]
  if not place or name not in _offered(alias):
    raise ValueError(
      f"{module}.{name} is stored under no public name: list it in the"
      " __init__ of its package, and that in core/names.py."
    )
  return f"{alias}.{name}"


def check_stored(name: str, where: str) -> None:
  """Raises a ValueError where a stored name is the path of a module."""
  if name.count(".") > 1:
    raise ValueError(_of_before(name, where))


def _offered(package: str) -> tuple[str, ...]:
  return tuple(importlib.import_module(PACKAGES[package]).__all__)


def _of_before(name: str, where: str) -> str:
  parts = name.split(".")
  packages = _BEFORE.get(parts[0], (parts[0],))
  found = [
    f"{package}.{parts[-1]}"
    for package in packages
    if package in PACKAGES and parts[-1] in _offered(package)
  ]
  found += [_RENAMED[name]] if name in _RENAMED else []
  # A name that is offered in several packages means the first.
  now = f"its public name is {found[0]!r}" if found else "it has no such name"
  return (
    f"{where}={name!r} is the path of a module, as earlier versions stored it;"
    f" {now}. In a config write that; a workdir or an artifact that holds such"
    " a path is made anew, in another folder."
  )
