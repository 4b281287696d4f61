# SPDX-License-Identifier: Apache-2.0
"""Frozen parameters: held still, without gradient and without moments.

    config.optimizer = {
      "name": "train.Frozen",
      "optimizer": {"name": "train.adamw", ...},
      "paths": ("backbone/.*", "item_embedding/embedding"),
    }

Each entry of `paths` is a regular expression that has to match a whole path. A
frozen parameter is a constant of the step: the loss is not differentiated with
respect to it, the optimizer holds nothing for it, weight decay and what a
system assigns itself pass it by, and the gradient's norm leaves it out. It is
saved with every checkpoint, so a run needs no other file to be read back. What
a model carries from step to step (core/model_seams.py: CarryingModel) is frozen
too, and set by the model alone.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from flax import traverse_util

from genrec_jax.train.rowwise import Optimizer

Flat = dict[tuple[str, ...], Any]


@dataclasses.dataclass(frozen=True)
class Frozen:
  """An optimizer of all parameters but some.

  Attributes:
    optimizer: of those that are trained.
    paths: regular expressions; a parameter is frozen where one of them matches
      its whole path, such as "backbone/layer_0/uvqk/kernel".
  """

  optimizer: "Optimizer | Frozen"
  paths: Sequence[str]

  def __post_init__(self):
    if isinstance(self.optimizer, Frozen):
      raise ValueError(
        "config.optimizer is a Frozen within a Frozen: list all paths in one."
      )
    if isinstance(self.paths, str) or not self.paths:
      raise ValueError(
        f"config.optimizer.paths={self.paths!r} must be a list of one or more"
        " regular expressions."
      )
    for pattern in self.paths:
      try:
        re.compile(pattern)
      except re.error as e:
        raise ValueError(
          f"config.optimizer.paths: {pattern!r} is no regular expression ({e})."
        ) from e

  def is_frozen(self, path: tuple[str, ...]) -> bool:
    """Whether a pattern matches the whole path."""
    return any(re.fullmatch(p, "/".join(path)) for p in self.paths)

  def check(self, params: Any) -> None:
    """Raises a ValueError where a pattern or the optimizer has nothing.

    Args:
      params: arrays or shapes.
    """
    flat = traverse_util.flatten_dict(params)
    names = ["/".join(path) for path in flat]
    for pattern in self.paths:
      if not any(re.fullmatch(pattern, name) for name in names):
        raise ValueError(
          f"config.optimizer.paths: {pattern!r} matches no parameter; there are"
          f" {', '.join(names)}."
        )
    if all(map(self.is_frozen, flat)):
      raise ValueError(
        f"config.optimizer.paths={tuple(self.paths)} freezes every parameter:"
        " there is nothing left to train."
      )


def holding_still(
  optimizer: Optimizer | Frozen, paths: Sequence[str]
) -> Optimizer | Frozen:
  """An optimizer that also freezes parameters that are data, by path."""
  if not paths:
    return optimizer
  patterns = tuple(map(re.escape, paths))
  if isinstance(optimizer, Frozen):
    return Frozen(optimizer.optimizer, (*optimizer.paths, *patterns))
  return Frozen(optimizer, patterns)


def trained_by(
  optimizer: Optimizer | Frozen, params: Any
) -> tuple[Optimizer, Any, Flat]:
  """The optimizer within, the parameters that it trains, the frozen by path.

  Raises:
    ValueError: a pattern that matches nothing, or nothing to train.
  """
  if not isinstance(optimizer, Frozen):
    return optimizer, params, {}
  optimizer.check(params)
  flat = traverse_util.flatten_dict(params)
  frozen = {path: x for path, x in flat.items() if optimizer.is_frozen(path)}
  trained = {path: x for path, x in flat.items() if path not in frozen}
  return optimizer.optimizer, traverse_util.unflatten_dict(trained), frozen
