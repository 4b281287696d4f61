# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by Orbax (v1 interface): the only file that imports it.

One checkpoint holds, each restorable alone:

    params, optimizer   arrays (the optimizer's with the step)
    data                state of the data iterator, JSON, one per reader
    progress            bookkeeping of the loop, JSON
    config              what the run was started with, JSON
    checksums           of all others, JSON (train/checksums.py)

Orbax writes beside the final name and renames, so a killed save is never
read. Shapes are compared before arrays are read: Orbax's own error hides
which ones differ. What is read is compared with its checksum; checkpoints from
before there were any have none.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
from typing import Any
import zlib

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from genrec_jax.train.checksums import checksums, differing
from genrec_jax.train.state import TrainState

_SUMS = "checksums"
_JSON = ("data", "progress", "config", _SUMS)


class DamagedCheckpoint(ValueError):
  """A checkpoint that cannot be read, or is not what was written."""


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


def _sums(part: Any) -> dict[str, int]:
  """Checksums of a part: of every array, or of a JSON document as a whole."""
  kinds = (jax.Array, np.ndarray, np.generic)
  arrays = [isinstance(x, kinds) for x in jax.tree.leaves(part)]
  if arrays and all(arrays):
    return checksums(part)
  return {"": zlib.crc32(json.dumps(part, sort_keys=True).encode())}


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
  def steps(self) -> list[int]:
    """Steps of all checkpoints, the newest first."""
    if self._checkpointer is None:
      return []
    return sorted(int(c.step) for c in self._checkpointer.checkpoints)[::-1]

  def set_aside(self, step: int) -> pathlib.Path:
    """Renames the checkpoint of a step, out of the way; returns where it is.

    What could not be read may be intact: a disk may have failed for a moment.
    """
    place = self.directory.with_name(f"damaged-{self.directory.name}-{step}")
    while place.exists():
      place = place.with_name(f"{place.name}-again")
    os.rename(self.directory / str(step), place)
    return place

  def reload(self) -> None:
    """Looks anew which checkpoints there are."""
    self._checkpointer.reload()

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
    parts = {
      "params": state.params,
      "optimizer": {"step": state.step, "state": state.opt_state},
      "data": dict(data),
      "progress": dict(progress),
      "config": dict(config),
    }
    sums = {name: _sums(part) for name, part in parts.items()}
    self._checkpointer.save_checkpointables(
      step, {**parts, _SUMS: sums}, force=True
    )

  def restore(
    self, like: TrainState, shardings: Any, step: int | None = None
  ) -> Restored:
    """Reads a checkpoint into the shapes of `like`.

    Args:
      like: arrays or shapes of the state.
      shardings: where its arrays go, whatever mesh they were saved from: a
        TrainState of shardings, or one for all arrays.
      step: which one; None = the newest.

    Raises:
      ValueError: no checkpoint, or one of another architecture (names the
        parameters whose shapes differ).
      DamagedCheckpoint: it cannot be read, or is not what was written.
    """
    step = self._require_step() if step is None else step
    self._check_shapes(step, "params", like.params)
    like = _abstract(like, shardings)
    read = self._read(
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
    return self._read(step, {"params": _abstract(like, sharding)})["params"]

  def progress(self) -> Mapping[str, Any]:
    """The bookkeeping of the newest checkpoint."""
    step = self._require_step()
    return self._read(step, {"progress": None})["progress"]

  def close(self) -> None:
    """Waits for what is being written."""
    if self._checkpointer is not None:
      self._checkpointer.close()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _read(self, step: int, parts: dict[str, Any]) -> dict[str, Any]:
    """Parts of a checkpoint, compared with their checksums."""
    summed = (self.directory / str(step) / _SUMS).is_dir()
    wanted = {**parts, _SUMS: None} if summed else parts
    with self._naming_damage(step):
      read = self._checkpointer.load_checkpointables(step, wanted)
    if not summed:
      return read
    for name in parts:
      wrong = differing(_sums(read[name]), read[_SUMS].get(name, {}))
      if wrong:
        raise DamagedCheckpoint(
          f"the checkpoint {self.directory / str(step)} is damaged: {name} is"
          f" not what was written ({', '.join(wrong[:3])}"
          + (f" and {len(wrong) - 3} more)." if len(wrong) > 3 else ").")
        )
    return read

  @contextlib.contextmanager
  def _naming_damage(self, step: int) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # of Orbax, TensorStore, JSON or a disk
      # What Orbax leaves behind would be told at length, and later.
      logging.getLogger("asyncio").setLevel(logging.CRITICAL)
      lines = str(error).splitlines() or [type(error).__name__]
      raise DamagedCheckpoint(
        f"the checkpoint {self.directory / str(step)} cannot be read:"
        f" {lines[0][:200]}"
      ) from error

  def _require_step(self) -> int:
    step = self.latest_step
    if step is None:
      raise ValueError(
        f"there is no checkpoint in {self.directory}. Train first:"
        " python scripts/train.py --config=... --workdir=..."
      )
    return step

  def _written(self, step: int, name: str) -> set[str]:
    """Paths of a part's arrays by its checksums; none where there are none."""
    if not (self.directory / str(step) / _SUMS).is_dir():
      return set()
    with self._naming_damage(step):
      read = self._checkpointer.load_checkpointables(step, {_SUMS: None})
    return set(read[_SUMS][name])

  def _check_shapes(self, step: int, name: str, like: Any) -> None:
    with self._naming_damage(step):
      found = self._checkpointer.checkpointables_metadata(step)
      saved = _shapes(found.metadata[name])
    wanted = _shapes(like)
    lines = [
      f"  {path}: checkpoint {saved.get(path, 'absent')}, config"
      f" {wanted.get(path, 'absent')}"
      for path in sorted(saved.keys() | wanted.keys())
      if saved.get(path) != wanted.get(path)
    ]
    if lines and self._written(step, name) - saved.keys():
      raise DamagedCheckpoint(
        f"the checkpoint {self.directory / str(step)} is damaged: its metadata"
        f" does not say what was written:\n{lines[0]}"
      )
    if lines:
      raise ValueError(
        f"the checkpoint in {self.directory} (step {step}) is of another"
        " architecture:\n" + "\n".join(lines) + "\nUse the config it was"
        " trained with, or another --workdir."
      )
