# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by Orbax (v1 interface): the only file that imports it.

One checkpoint holds, each restorable alone:

    params, optimizer   arrays (the optimizer's with the step)
    data                state of the data iterator, JSON, one per reader
    progress            bookkeeping of the loop, JSON
    config              what the run was started with, JSON

Orbax writes beside the final name and renames, so a killed save is never
read. Then checksums.json is written beside the parts: size and CRC-32 of every
file. They are compared before Orbax opens anything. A checkpoint without it is
of before there were any, or of a process that was killed between the two: it
is read as it is, and `seal` makes up for it. Shapes are compared before arrays
are read: Orbax's own error hides which ones differ.
"""

from collections.abc import Collection, Iterator, Mapping
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from genrec_jax.core import atomic, crc, sealed
from genrec_jax.train.state import TrainState

_SUMS = "checksums.json"
_JSON = ("data", "progress", "config")
_PARTS = ("params", "optimizer", *_JSON)


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
    self._keep = keep
    self._read_only = read_only
    self._checkpointer: ocp.training.Checkpointer | None = None

  @property
  def steps(self) -> list[int]:
    """Steps of all checkpoints, the newest first."""
    try:
      names = os.listdir(self.directory)
    except FileNotFoundError:
      return []
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)

  @property
  def latest_step(self) -> int | None:
    """Step of the newest checkpoint; None where there is none."""
    return next(iter(self.steps), None)

  def check(self, step: int, share: int = 0, shares: int = 1) -> None:
    """Compares all files of a checkpoint with their checksums.

    Args:
      step: which one.
      share: of the files to read, from 0.
      shares: among so many.

    Raises:
      DamagedCheckpoint: one is not what was written.
    """
    sums = self._sums(step)
    names = sorted(sums)[share::shares]
    self._compare(step, {name: sums[name] for name in names})

  def seal(self) -> None:
    """Writes the checksums of the newest checkpoint where it has none."""
    step = self.latest_step
    if step is not None and not self._is_sealed(step):
      self._seal(step)

  def set_aside(self, step: int) -> pathlib.Path:
    """Renames the checkpoint of a step, out of the way; returns where it is.

    What could not be read may be intact: a disk may have failed for a moment.
    """
    place = self.directory.with_name(f"damaged-{self.directory.name}-{step}")
    while place.exists():
      place = place.with_name(f"{place.name}-again")
    os.rename(self.directory / str(step), place)
    return place

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
    if self._checkpointer is None:
      # Now, for it looks only once at what is there.
      self._checkpointer = ocp.training.Checkpointer(
        self.directory,
        context=_context(),
        preservation_policy=ocp.training.preservation_policies.LatestN(
          self._keep
        ),
        cleanup_tmp_directories=True,
      )
    self._checkpointer.save_checkpointables(step, parts, force=True)
    if jax.process_index() == 0:
      self._seal(step)

  def restore(
    self,
    like: TrainState,
    shardings: Any,
    step: int | None = None,
    *,
    checked: bool = False,
  ) -> Restored:
    """Reads a checkpoint into the shapes of `like`.

    Args:
      like: arrays or shapes of the state.
      shardings: where its arrays go, whatever mesh they were saved from: a
        TrainState of shardings, or one for all arrays.
      step: which one; None = the newest.
      checked: whether `check` has compared its files already.

    Raises:
      ValueError: no checkpoint, or one of another architecture (names the
        parameters whose shapes differ).
      DamagedCheckpoint: it cannot be read, or is not what was written.
    """
    step = self._require_step() if step is None else step
    if not checked:
      self.check(step)
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

  def restore_params(
    self,
    like: Any,
    sharding: jax.sharding.Sharding,
    step: int | None = None,
  ) -> Any:
    """Reads only the parameters of a checkpoint.

    Args:
      like: arrays or shapes of the parameters.
      sharding: where they go, whatever they were saved from.
      step: which one; None = the newest.

    Raises:
      ValueError: as in restore.
    """
    step = self._require_step() if step is None else step
    self._check_parts(step, ["params"])
    self._check_shapes(step, "params", like)
    return self._read(step, {"params": _abstract(like, sharding)})["params"]

  def progress(self, step: int | None = None) -> Mapping[str, Any]:
    """The bookkeeping of a checkpoint, the newest one; raises as `restore`."""
    step = self._require_step() if step is None else step
    self._check_parts(step, ["progress"])
    return self._read(step, {"progress": None})["progress"]

  def contents(self, step: int | None = None) -> dict[str, Any]:
    """All parts of a checkpoint, whatever is in them; raises as `restore`.

    The arrays are NumPy's, in dicts of their own.
    """
    step = self._require_step() if step is None else step
    self.check(step)
    return jax.device_get(self._read(step, None))

  def close(self) -> None:
    """Waits for what is being written."""
    if self._checkpointer is not None:
      self._checkpointer.close()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _read(self, step: int, parts: dict[str, Any] | None) -> dict[str, Any]:
    """Parts of a checkpoint whose files have been compared."""
    with self._naming_damage(step), _context():
      return ocp.load_checkpointables(self.directory / str(step), parts)

  def _sums(self, step: int) -> dict[str, str]:
    """Checksums of a checkpoint's files; empty where it has none."""
    path = self.directory / str(step) / _SUMS
    if not self._is_sealed(step):
      if any(self._is_sealed(s) for s in self.steps if s > step):
        raise DamagedCheckpoint(
          f"the checkpoint {path.parent} lacks {_SUMS}: a process was killed"
          " when it deleted it."
        )
      return {}
    try:
      return sealed.read_sealed(path, "")["files"]
    except (ValueError, KeyError) as error:
      raise DamagedCheckpoint(
        f"the checkpoint {path.parent} is damaged: {_SUMS} cannot be read."
      ) from error

  def _is_sealed(self, step: int) -> bool:
    return (self.directory / str(step) / _SUMS).is_file()

  def _compare(self, step: int, sums: Mapping[str, str]) -> None:
    folder = self.directory / str(step)
    wrong = crc.changed(folder, sums)
    if wrong:
      raise DamagedCheckpoint(
        f"the checkpoint {folder} is damaged: {crc.said(folder, wrong)}."
      )

  def _check_parts(self, step: int, parts: Collection[str]) -> None:
    """Compares the files of some parts, and those that belong to all."""
    others = set(_PARTS) - set(parts)
    sums = {
      name: value
      for name, value in self._sums(step).items()
      if name.split("/")[0] not in others
    }
    self._compare(step, sums)

  def _seal(self, step: int) -> None:
    folder = self.directory / str(step)
    names = sorted(
      path.relative_to(folder).as_posix()
      for path in folder.rglob("*")
      if path.is_file()
    )
    text = json.dumps(sealed.seal({"files": crc.file_sums(folder, names)}))
    atomic.write_text(folder / _SUMS, text + "\n")

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
        " genrec train --config=... --workdir=..."
      )
    return step

  def _check_shapes(self, step: int, name: str, like: Any) -> None:
    with self._naming_damage(step):
      with _context():
        found = ocp.checkpointables_metadata(self.directory / str(step))
      saved = _shapes(found.metadata[name])
    if not saved:
      raise DamagedCheckpoint(
        f"the checkpoint {self.directory / str(step)} cannot be read: its"
        f" metadata knows no array of {name}."
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
