# SPDX-License-Identifier: Apache-2.0
"""Parameters that a run starts from, read from files.

    config.train.pretrained = {
      "backbone": {"path": "runs/a", "prefix": "backbone"},
      "head/kernel": {"path": "head.safetensors", "prefix": "out/kernel"},
    }

or --config.train.pretrained="{'backbone': {'path': 'runs/a', ...}}" on the
command line. A key names a part of the parameters: one array, or all below a
path. Its source is a .safetensors file, or the workdir of a run (its best
checkpoint). Under the prefix the source must have just the arrays that the
part has, with the same names and shapes; names may be joined by "/" or ".".
Files are read when a run starts, and not when it is resumed: its checkpoints
hold every parameter. A resumed run says where a source is another by now.
"""

from collections.abc import Mapping
import pathlib
import sys
from typing import Any

from flax import traverse_util
import jax.numpy as jnp
import numpy as np
import safetensors
from safetensors.numpy import load_file

from genrec_jax.core import artifact
from genrec_jax.core.checksums import sha256
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import (
  CHECKPOINTS,
  load_params,
  read_progress,
)
from genrec_jax.train import checkpoint_sums
from genrec_jax.train.checkpoint_sums import DamagedCheckpoint
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.parameter_source import ParameterSource

Flat = dict[tuple[str, ...], Any]


def load_parts(run: Run, params: Any) -> Any:
  """Parameters of a run with the parts of config.train.pretrained read.

  Args:
    run: the run that starts.
    params: what it starts from otherwise; None for its seed's own.

  Returns:
    Host arrays where a part was read; params as they are where none is given.

  Raises:
    ValueError: as in read_file and preload, and item vectors by row from a
      run with other items, or parameters of codes that mean other items.
  """
  sources = run.train.pretrained
  if not sources:
    return params
  params = run.init_params() if params is None else params
  read = {part: _read(run, part, source) for part, source in sources.items()}
  params = preload(params, sources, read)
  for part, source in sources.items():
    print(f"pretrained: {part or 'all parameters'} from {source.path}")
  return params


def identities(run: Run) -> dict[str, str]:
  """Of each part of config.train.pretrained, what its source is now.

  Sources that are gone, damaged, or hold no checkpoint yet are left out.
  """
  found = {
    part: _identity(source)
    for part, source in (run.train.pretrained or {}).items()
  }
  return {part: name for part, name in found.items() if name}


def _identity(source: ParameterSource) -> str:
  """A hash of a file, or of a run's best checkpoint; "" where there is none."""
  path = pathlib.Path(source.path)
  if not source.is_workdir:
    return sha256([path])[path.name] if path.is_file() else ""
  return identity_of(path / CHECKPOINTS["best"])


def identity_of(folder: pathlib.Path) -> str:
  """A hash of the newest checkpoint in a folder; "" where there is none."""
  if not folder.is_dir():
    return ""
  with Checkpoints(folder, read_only=True) as checkpoints:
    step = checkpoints.latest_step
  if step is None:
    return ""
  try:
    sums = checkpoint_sums.read(folder / str(step))
  except DamagedCheckpoint:
    return ""
  return artifact.content_hash(step, sums)


def warn_of_others(run: Run, sources: Mapping[str, str]) -> None:
  """Says on stderr which sources are not what a run started from any more.

  Args:
    run: that goes on.
    sources: identities when it started.
  """
  for part, now in identities(run).items():
    if sources.get(part, now) != now:
      print(
        f"config.train.pretrained[{part!r}]: {run.train.pretrained[part].path}"
        " is not what this run started from any more; to start from what it is"
        " now, take another --workdir",
        file=sys.stderr,
      )


def open_old(run: Run, workdir: str) -> Run:
  """A trained run to take parameters from, whose codes mean what run's do."""
  old = Run.open(workdir)
  # Parameters of codes, and of contents, are taken as they are.
  versions = read_progress(old).get("artifacts", {})
  run.artifacts.check_spaces(versions)
  tokens = versions.get("tokens")
  if tokens is not None:
    run.artifacts.check({"tokens": tokens})
  return old


def _read(run: Run, part: str, source: ParameterSource) -> Flat:
  if not source.is_workdir:
    return read_file(source.path)
  old = open_old(run, source.path)
  same = list(Catalog(old.histories.directory).ids) == list(run.catalog.ids)
  for table in run.system.item_tables:
    if _is_within(table, part) and not same:
      raise ValueError(
        f"config.train.pretrained[{part!r}]: {'/'.join(table)} has a row per"
        f" item, and {source.path} has other items or another order. Use"
        " config.train.warm_start, which goes by item id."
      )
  return traverse_util.flatten_dict(load_params(old).params)


def read_file(path: str) -> Flat:
  """Arrays of a .safetensors file by path.

  Raises:
    ValueError: missing, truncated or damaged.
  """
  if not pathlib.Path(path).is_file():
    raise ValueError(f"config.train.pretrained: {path} is missing.")
  try:
    tensors = load_file(path)
  except (safetensors.SafetensorError, OSError) as e:
    raise ValueError(
      f"config.train.pretrained: {path} is truncated or damaged ({e}). Copy it"
      " again."
    ) from e
  return {_path(name): array for name, array in tensors.items()}


def preload(
  params: Any, sources: Mapping[str, ParameterSource], read: Mapping[str, Flat]
) -> Any:
  """Parameters with the parts that are given replaced by what was read.

  Args:
    params: nested dict of arrays.
    sources: part -> where it comes from.
    read: part -> all arrays of its source, by path.

  Returns:
    A tree like params, of host arrays where a part was replaced; each keeps
    the type that it had.

  Raises:
    ValueError: a part that there is not, or that is given twice; arrays that
      only one side has, other shapes, or integers for fractions (names the
      paths).
  """
  flat = traverse_util.flatten_dict(params)
  result, owner = dict(flat), {}
  for part, source in sources.items():
    where = f"config.train.pretrained[{part!r}]"
    ours = _below(flat, part)
    if not ours:
      names = ", ".join("/".join(path) for path in flat)
      raise ValueError(f"{where} is no part of the parameters: {names}.")
    theirs = _below(read[part], source.prefix)
    wrong = []
    for path in sorted(ours.keys() | theirs.keys()):
      problem = _problem(ours.get(path), theirs.get(path))
      if problem:
        wrong.append(f"  {'/'.join((*_path(part), *path))}: {problem}")
    if wrong:
      raise ValueError(
        f"{where}: {source.path} with prefix {source.prefix!r} does not fit:\n"
        + "\n".join(wrong)
      )
    for path, array in ours.items():
      whole = (*_path(part), *path)
      if whole in owner:
        raise ValueError(
          f"config.train.pretrained gives {'/'.join(whole)} twice, as"
          f" {owner[whole]!r} and as {part!r}."
        )
      owner[whole] = part
      result[whole] = np.asarray(theirs[path]).astype(array.dtype)
  return traverse_util.unflatten_dict(result)


def _path(name: str) -> tuple[str, ...]:
  return tuple(name.replace(".", "/").split("/")) if name else ()


def _is_within(path: tuple[str, ...], part: str) -> bool:
  start = _path(part)
  return path[: len(start)] == start


def _below(flat: Flat, prefix: str) -> Flat:
  """Entries at or below a path, by what follows it."""
  start = _path(prefix)
  return {
    path[len(start) :]: x
    for path, x in flat.items()
    if _is_within(path, prefix)
  }


def _problem(ours: Any, theirs: Any) -> str:
  """Why an array cannot be taken; '' where it can."""
  if theirs is None:
    return f"{ours.shape}, and absent there"
  if ours is None:
    return f"{theirs.shape} there, and absent here"
  if ours.shape != theirs.shape:
    return f"{ours.shape}, and {theirs.shape} there"
  fractions = [jnp.issubdtype(x.dtype, jnp.floating) for x in (ours, theirs)]
  if fractions[0] != fractions[1]:
    return f"{ours.dtype}, and {theirs.dtype} there"
  return ""
