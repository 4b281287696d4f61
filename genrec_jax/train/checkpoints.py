# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by Orbax (v1 interface): the only file that imports it.

One checkpoint holds, each restorable alone:

    params, optimizer   arrays (the optimizer's with the step)
    data                state of the data iterator, JSON, one per reader
    progress            bookkeeping of the loop, JSON
    config              what the run was started with, JSON

Orbax writes beside the final name and renames, so a killed save is never
read. Shapes are compared before arrays are read: Orbax's own error hides
which ones differ.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from genrec_jax.train.state import TrainState

_JSON = ("data", "progress", "config")


@dataclasses.dataclass(frozen=True)
class Restored:
  """A checkpoint read back whole."""

  state: TrainState
  data: Mapping[str, Any]
  progress: Mapping[str, Any]


def _context() -> ocp.Context:
  registry = ocp.handlers.local_registry()
  for name in _JSON:
    registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
  context = ocp.Context()
  context.checkpointables.registry = registry
  return context


def _abstract(tree: Any, shardings: Any) -> Any:
  """Shapes with shardings: a tree like the first, or one for all arrays."""
  if isinstance(shardings, jax.sharding.Sharding):
    shardings = jax.tree.map(lambda _: shardings, tree)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    tree,
    shardings,
  )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  """Path -> shape. Named tuples and dicts of one content get one path."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
    for path, leaf in leaves
  }


class Checkpoints:
  """The checkpoints of one directory, oldest deleted first."""

  def __init__(
    self,
    directory: str | os.PathLike,
    keep: int = 2,
    *,
    read_only: bool = False,
  ):
    """Opens a directory.

    Args:
      directory: of all checkpoints; made where it is missing.
      keep: newest ones kept at a save.
      read_only: changes nothing in the directory: a trainer may be writing
        there. Otherwise what a killed save left behind is removed.
    """
    self.directory = pathlib.Path(directory).absolute()
    self._read_only = read_only
    self._checkpointer = None
    if not read_only or self.directory.is_dir():
      self._checkpointer = ocp.training.Checkpointer(
        self.directory,
        context=_context(),
        preservation_policy=ocp.training.preservation_policies.LatestN(keep),
        cleanup_tmp_directories=not read_only,
      )

  @property
  def latest_step(self) -> int | None:
    """Step of the newest checkpoint; None where there is none."""
    latest = None if self._checkpointer is None else self._checkpointer.latest
    return None if latest is None else int(latest.step)

  def save(
    self,
    state: TrainState,
    *,
    data: Mapping[str, Any],
    progress: Mapping[str, Any],
    config: Mapping[str, Any],
  ) -> None:
    """Writes a checkpoint of the state's step; a second save is a no-op."""
    if self._read_only:
      raise ValueError(f"{self.directory} was opened to be read only.")
    step = int(state.step)
    if step == self.latest_step:
      return
    self._checkpointer.save_checkpointables(
      step,
      {
        "params": state.params,
        "optimizer": {"step": state.step, "state": state.opt_state},
        "data": dict(data),
        "progress": dict(progress),
        "config": dict(config),
      },
      force=True,
    )

  def restore(self, like: TrainState, shardings: Any) -> Restored:
    """Reads the newest checkpoint into the shapes of `like`.

    Args:
      like: arrays or shapes of the state.
      shardings: where its arrays go, whatever mesh they were saved from: a
        TrainState of shardings, or one for all arrays.

    Raises:
      ValueError: no checkpoint, or one of another architecture (names the
        parameters whose shapes differ).
    """
    step = self._require_step()
    self._check_shapes(step, "params", like.params)
    like = _abstract(like, shardings)
    read = self._checkpointer.load_checkpointables(
      step,
      {
        "params": like.params,
        "optimizer": {"step": like.step, "state": like.opt_state},
        "data": None,
        "progress": None,
      },
    )
    state = TrainState(
      step=read["optimizer"]["step"],
      params=read["params"],
      opt_state=read["optimizer"]["state"],
    )
    return Restored(state, read["data"], read["progress"])

  def restore_params(self, like: Any, sharding: jax.sharding.Sharding) -> Any:
    """Reads only the parameters of the newest checkpoint.

    Args:
      like: arrays or shapes of the parameters.
      sharding: where they go, whatever they were saved from.

    Raises:
      ValueError: as in restore.
    """
    step = self._require_step()
    self._check_shapes(step, "params", like)
    read = self._checkpointer.load_checkpointables(
      step, {"params": _abstract(like, sharding)}
    )
    return read["params"]

  def progress(self) -> Mapping[str, Any]:
    """The bookkeeping of the newest checkpoint."""
    step = self._require_step()
    read = self._checkpointer.load_checkpointables(step, {"progress": None})
    return read["progress"]

  def close(self) -> None:
    """Waits for what is being written."""
    if self._checkpointer is not None:
      self._checkpointer.close()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _require_step(self) -> int:
    step = self.latest_step
    if step is None:
      raise ValueError(
        f"there is no checkpoint in {self.directory}. Train first:"
        " python scripts/train.py --config=... --workdir=..."
      )
    return step

  def _check_shapes(self, step: int, name: str, like: Any) -> None:
    saved = _shapes(
      self._checkpointer.checkpointables_metadata(step).metadata[name]
    )
    wanted = _shapes(like)
    lines = [
      f"  {path}: checkpoint {saved.get(path, 'absent')}, config"
      f" {wanted.get(path, 'absent')}"
      for path in sorted(saved.keys() | wanted.keys())
      if saved.get(path) != wanted.get(path)
    ]
    if lines:
      raise ValueError(
        f"the checkpoint in {self.directory} (step {step}) is of another"
        " architecture:\n" + "\n".join(lines) + "\nUse the config it was"
        " trained with, or another --workdir."
      )
