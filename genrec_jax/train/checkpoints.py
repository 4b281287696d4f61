# SPDX-License-Identifier: Apache-2.0
"""Checkpoints by Orbax (v1 interface): the only file that imports it.

One checkpoint holds, each restorable alone:

    params, optimizer   arrays (the optimizer's with the step)
    held                arrays, of a state that holds others (rollouts)
    data                state of the data iterator, JSON, one per reader
    progress            bookkeeping of the loop, JSON
    config              what the run was started with, JSON

and checksums.json: size and CRC-32 of every file. They are compared before
Orbax opens anything.

`save` returns when Orbax has written. A thread then reads the files back, adds
the checksums and renames STEP.tmp-unsealed to STEP, while training goes on; the
next save, any reading and `close` wait for it. So a process that is killed at
whatever moment leaves a checkpoint with its checksums or none, and the training
goes on from the one before it, with the same result. What a killed process left
is never read, and removed by the next save.

The metadata of a checkpoint say that it has checksums: without checksums.json
it is damaged. One of before there were any is read with a notice, and `seal`
makes up for it. Shapes are compared before arrays are read: Orbax's own error
hides which ones differ.
"""

from collections.abc import Iterator, Mapping
from concurrent import futures
import contextlib
import dataclasses
import logging
import os
import pathlib
import shutil
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from genrec_jax.train import checkpoint_sums
from genrec_jax.train.checkpoint_sums import DamagedCheckpoint
from genrec_jax.train.state import TrainState

# What is no checkpoint yet, or no more.
_UNSEALED, _DELETED = "tmp-unsealed", "tmp-deleted"
_LEFT = ("*.tmp-*", "*.orbax-checkpoint-tmp*")
_JSON = ("data", "progress", "config")
_PARTS = ("params", "optimizer", "held", *_JSON)


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
        there. Otherwise the first save removes what a killed one left.
    """
    self.directory = pathlib.Path(directory).absolute()
    self._keep = keep
    self._read_only = read_only
    self._thread = futures.ThreadPoolExecutor(1, "seal")
    self._sealing: futures.Future[None] | None = None
    self._saved: int | None = None

  @property
  def steps(self) -> list[int]:
    """Steps of all checkpoints, the newest first."""
    self._wait()
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
    self._wait()
    folder = self._folder(step)
    sums = checkpoint_sums.read(folder)
    if not sums and any(self._is_sealed(s) for s in self.steps if s > step):
      raise DamagedCheckpoint(
        f"the checkpoint {folder} lacks {checkpoint_sums.SUMS}: a process was"
        " killed when it deleted it."
      )
    names = sorted(sums)[share::shares]
    checkpoint_sums.compare(folder, {name: sums[name] for name in names})

  def seal(self) -> None:
    """Writes checksums of the newest checkpoint, if it is of before them."""
    step = self.latest_step
    if step is not None and checkpoint_sums.is_old(self._folder(step)):
      checkpoint_sums.seal(self._folder(step))

  def set_aside(self, step: int) -> pathlib.Path:
    """Renames the checkpoint of a step, out of the way; returns where it is.

    What could not be read may be intact: a disk may have failed for a moment.
    """
    place = self.directory.with_name(f"damaged-{self.directory.name}-{step}")
    while place.exists():
      place = place.with_name(f"{place.name}-again")
    os.rename(self._folder(step), place)
    return place

  def save(
    self,
    state: TrainState,
    *,
    data: Mapping[str, Any],
    progress: Mapping[str, Any],
    config: Mapping[str, Any],
  ) -> None:
    """Writes a checkpoint of the state's step; a second save is a no-op.

    Raises:
      OSError: the disk takes no more, now or when the last one was sealed.
    """
    if self._read_only:
      raise ValueError(f"{self.directory} was opened to be read only.")
    step = int(state.step)
    self._wait()
    # Other processes know of the newest only what they saved themselves.
    if step == (self.latest_step if self._saved is None else self._saved):
      return
    if self._saved is None and jax.process_index() == 0:
      self._clear()
    parts = {
      "params": state.params,
      "optimizer": {"step": state.step, "state": state.opt_state},
      "data": dict(data),
      "progress": dict(progress),
      "config": dict(config),
    }
    if state.held:
      parts["held"] = state.held
    place = self._beside(step, _UNSEALED)
    with _context():
      ocp.save_checkpointables(
        place, parts, custom_metadata=checkpoint_sums.SEALED
      )
    self._saved = step
    if jax.process_index() == 0:
      self._sealing = self._thread.submit(self._finish, step)

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
    parts = {
      "params": like.params,
      "optimizer": {"step": like.step, "state": like.opt_state},
      "data": None,
      "progress": None,
    }
    if like.held:
      parts["held"] = like.held
    read = self._read(step, parts)
    state = TrainState(
      step=read["optimizer"]["step"],
      params=read["params"],
      opt_state=read["optimizer"]["state"],
      held=read["held"] if like.held else like.held,
    )
    return Restored(state, read["data"], read["progress"])

  def restore_params(
    self,
    like: Any,
    sharding: jax.sharding.Sharding,
    step: int | None = None,
  ) -> Any:
    """Reads only the parameters of a checkpoint.

    Nothing else needs to be whole; a notice says where it visibly is not.

    Args:
      like: arrays or shapes of the parameters.
      sharding: where they go, whatever they were saved from.
      step: which one; None = the newest.

    Raises:
      ValueError: as in restore.
    """
    step = self._require_step() if step is None else step
    self._check_part(step, "params", notice=True)
    self._check_shapes(step, "params", like)
    return self._read(step, {"params": _abstract(like, sharding)})["params"]

  def progress(self, step: int | None = None) -> Mapping[str, Any]:
    """The bookkeeping of a checkpoint, the newest one; raises as `restore`."""
    step = self._require_step() if step is None else step
    self._check_part(step, "progress")
    return self._read(step, {"progress": None})["progress"]

  def contents(self, step: int | None = None) -> dict[str, Any]:
    """All parts of a checkpoint, whatever is in them; raises as `restore`.

    The arrays are NumPy's, in dicts of their own.
    """
    step = self._require_step() if step is None else step
    self.check(step)
    return jax.device_get(self._read(step, None))

  def close(self) -> None:
    """Waits for what is being written; raises where it cannot be."""
    try:
      self._wait()
    finally:
      self._thread.shutdown()

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, *unused) -> None:
    self.close()

  def _folder(self, step: int) -> pathlib.Path:
    return self.directory / str(step)

  def _is_sealed(self, step: int) -> bool:
    return checkpoint_sums.is_sealed(self._folder(step))

  def _check_part(self, step: int, part: str, notice: bool = False) -> None:
    """Compares the files of a part, and those that belong to all."""
    self._wait()
    others = set(_PARTS) - {part}
    checkpoint_sums.compare_but(self._folder(step), others, notice=notice)

  def _beside(self, step: int, kind: str) -> pathlib.Path:
    return self.directory / f"{step}.{kind}"

  def _clear(self) -> None:
    """Removes what killed processes left."""
    for pattern in _LEFT:
      for path in self.directory.glob(pattern):
        shutil.rmtree(path)

  def _wait(self) -> None:
    """Returns when the last save is sealed; raises once where it is not."""
    sealing, self._sealing = self._sealing, None
    if sealing is not None:
      sealing.result()

  def _finish(self, step: int) -> None:
    """Makes a checkpoint of what was saved, and deletes the oldest."""
    unsealed = self._beside(step, _UNSEALED)
    try:
      checkpoint_sums.seal(unsealed)
      self._delete(step)
      os.rename(unsealed, self._folder(step))
    except BaseException:
      shutil.rmtree(unsealed, ignore_errors=True)
      raise
    names = [p.name for p in self.directory.iterdir() if p.name.isdigit()]
    others = sorted({int(name) for name in names} - {step}, reverse=True)
    for old in others[self._keep - 1 :]:
      self._delete(old)

  def _delete(self, step: int) -> None:
    """Removes a checkpoint where there is one, at once for who reads."""
    deleted = self._beside(step, _DELETED)
    shutil.rmtree(deleted, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
      os.rename(self._folder(step), deleted)
      shutil.rmtree(deleted)

  def _read(self, step: int, parts: dict[str, Any] | None) -> dict[str, Any]:
    """Parts of a checkpoint whose files have been compared."""
    with self._naming_damage(step), _context():
      return ocp.load_checkpointables(self._folder(step), parts)

  @contextlib.contextmanager
  def _naming_damage(self, step: int) -> Iterator[None]:
    try:
      yield
    except Exception as error:  # of Orbax, TensorStore, JSON or a disk
      # What Orbax leaves behind would be told at length, and later.
      logging.getLogger("asyncio").setLevel(logging.CRITICAL)
      lines = str(error).splitlines() or [type(error).__name__]
      raise DamagedCheckpoint(
        f"the checkpoint {self._folder(step)} cannot be read: {lines[0][:200]}"
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
        # Of this part alone: Orbax logs at length what is wrong with others.
        found = ocp.metadata(self._folder(step), name)
      saved = _shapes(found.metadata)
    if not saved:
      raise DamagedCheckpoint(
        f"the checkpoint {self._folder(step)} cannot be read: its"
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
