# SPDX-License-Identifier: Apache-2.0
"""The device mesh, and who holds what on it.

A mesh has two axes: `data` splits the rows of a batch, `model` the width of a
layer. Modules name the dimensions of their parameters (`logical_axes`):

    width   the model's D             hidden  heads x key width, inner widths
    rows    ids of an item table      expert  of a mixture (layers/moe.py)
    slot    kinds of features with    batch   rows of a batch (no parameter's)
            matrices of their own

A preset maps these names to mesh axes; what it does not name is replicated.
`jax.jit` with such shardings is what pjit became: XLA inserts the collectives.
With `rowwise_tables` the tables' collectives are written by hand instead
(ops/embedding_lookup.py), and no device ever sees a whole table.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import fnmatch
import math
from typing import Any

import jax
from jax.sharding import (
  AbstractMesh,
  AxisType,
  Mesh,
  NamedSharding,
  PartitionSpec,
)
import numpy as np

from genrec_jax.core.suggest import choices_hint

AXES = ("data", "model")
LOGICAL_AXES = ("batch", "rows", "width", "hidden", "expert", "slot")

Rules = Mapping[str, tuple[str, ...]]
LogicalAxes = Mapping[str, tuple[str | None, ...]]

PRESETS: dict[str, Rules] = {
  # Parameters everywhere; gradients are summed over devices.
  "dp": {"batch": ("data",)},
  # Every matrix is split over the devices that split the batch.
  "fsdp": {"batch": ("data",), "width": ("data",)},
  # Matrices in pairs: columns of the first, rows of the second. Experts whole.
  "tp": {"batch": ("data",), "hidden": ("model",), "expert": ("model",)},
  # What slots have of their own, by slots; slots change places to be mixed.
  "slots": {"batch": ("data",), "slot": ("model",), "expert": ("model",)},
  # Tables by rows over all devices, everything else everywhere.
  "rowwise_tables": {"batch": AXES, "rows": AXES},
}


@dataclasses.dataclass(frozen=True)
class MeshOptions:
  """config.mesh.

  Attributes:
    preset: a name in PRESETS.
    axes: size of each mesh axis; one may be -1, which takes what is left.
    rules: logical axis -> mesh axis (or several), over those of the preset.
  """

  preset: str = "dp"
  axes: Mapping[str, int] = dataclasses.field(
    default_factory=lambda: {"data": -1}
  )
  rules: Mapping[str, str | Sequence[str]] = dataclasses.field(
    default_factory=dict
  )

  def __post_init__(self):
    if self.preset not in PRESETS:
      raise ValueError(
        f"config.mesh.preset={self.preset!r} is unknown."
        + choices_hint(self.preset, PRESETS)
      )
    named = [*self.axes]
    for axes in self.rules.values():
      named += _as_tuple(axes)
    for key, value, choices in (
      *(("axes", axis, AXES) for axis in named),
      *(("rules", name, LOGICAL_AXES) for name in self.rules),
    ):
      if value not in choices:
        raise ValueError(
          f"config.mesh.{key}: unknown axis {value!r}."
          + choices_hint(value, choices)
        )

  def place(self, devices: Sequence[jax.Device] | None = None) -> "Placement":
    """The mesh over the devices (default: all of the job) and its rules.

    Devices may be those of a TPU topology that nobody has.

    Raises:
      ValueError: sizes whose product is not the number of devices.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = _sizes({axis: self.axes.get(axis, 1) for axis in AXES}, devices)
    mesh = jax.make_mesh(
      sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )
    rules = {name: _as_tuple(axes) for name, axes in self.rules.items()}
    return Placement(mesh, {**PRESETS[self.preset], **rules})


def _as_tuple(axes: str | Sequence[str]) -> tuple[str, ...]:
  return (axes,) if isinstance(axes, str) else tuple(axes)


def _sizes(axes: dict[str, int], devices: list) -> tuple[int, ...]:
  """Sizes of the mesh axes with -1 filled in."""
  asked, count = dict(axes), len(devices)
  free = [axis for axis, size in axes.items() if size == -1]
  product = math.prod(size for size in axes.values() if size != -1)
  good = len(free) <= 1 and all(s > 0 or s == -1 for s in axes.values())
  if good and free and count % product == 0:
    axes[free[0]] = count // product
    product = count
  if not good or product != count:
    raise ValueError(
      f"config.mesh.axes={asked} does not make a mesh of the {count}"
      " device(s): sizes are positive, one may be -1 (what is left), and their"
      f" product must be {count}."
    )
  return tuple(axes[axis] for axis in AXES)


@dataclasses.dataclass(frozen=True)
class Placement:
  """A mesh and the rules by which arrays lie on it.

  Attributes:
    mesh: over the axes of AXES.
    rules: logical axis -> mesh axes; names without an entry are not split.
  """

  mesh: Mesh
  rules: Rules

  @property
  def replicated(self) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(self.mesh, PartitionSpec())

  @property
  def by_rows(self) -> NamedSharding:
    """The rows of a batch are split."""
    return NamedSharding(self.mesh, PartitionSpec(self.rules["batch"]))

  @property
  def by_items(self) -> NamedSharding:
    """Rows of item vectors are split over all devices."""
    return NamedSharding(self.mesh, PartitionSpec(AXES))

  @property
  def table_axes(self) -> tuple[str, ...]:
    """Mesh axes that split the rows of tables; () where none does."""
    return tuple(self.rules.get("rows", ()))

  def divides(self, batch_size: int) -> bool:
    """Whether there are rows, and they can be split evenly."""
    return batch_size > 0 and batch_size % self._count(self.rules["batch"]) == 0

  def check_batch_size(self, batch_size: int, where: str) -> None:
    """Raises a ValueError where rows cannot be split evenly."""
    if not self.divides(batch_size):
      parts = self._count(self.rules["batch"])
      nearest = max(parts, batch_size // parts * parts)
      raise ValueError(
        f"{where}={batch_size} is not a positive multiple of the {parts}"
        f" devices that share a batch; use {nearest}."
      )

  def shardings(self, tree: Any, logical_axes: LogicalAxes) -> Any:
    """NamedShardings for a tree of arrays or shapes.

    Args:
      tree: parameters, or anything that repeats their paths, such as an
        optimizer's state.
      logical_axes: end of a path (with wildcards) -> names of the last
        dimensions, None for one that is never split. The scalar per row that
        a row-wise optimizer keeps has only the first name of its table.

    Raises:
      ValueError: two dimensions of an array on one mesh axis, or a size that
        the devices of its axis do not divide.
    """

    def place(path, leaf):
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      axes = _axes_of(name, len(leaf.shape), logical_axes)
      return NamedSharding(self.mesh, self._spec(name, leaf.shape, axes))

    return jax.tree_util.tree_map_with_path(place, tree)

  def _count(self, axes: tuple[str, ...]) -> int:
    return math.prod(self.mesh.shape[axis] for axis in axes)

  def _spec(self, name, shape, axes) -> PartitionSpec:
    taken: dict[str, str] = {}
    entries = []
    for size, logical in zip(shape, axes, strict=True):
      used = tuple(self.rules.get(logical, ()))
      for axis in used:
        if axis in taken:
          raise ValueError(
            f"{name}: {taken[axis]!r} and {logical!r} are both on mesh axis"
            f" {axis!r}, and an array can use it once; change"
            " config.mesh.rules or config.mesh.preset."
          )
        taken[axis] = logical
      if size % self._count(used):
        raise ValueError(
          f"{name} has {size} {logical}, not a multiple of the"
          f" {self._count(used)} devices of {' x '.join(used)}: change the"
          " model's size"
          + (" (config.system.row_multiple)" if logical == "rows" else "")
          + " or config.mesh."
        )
      entries.append(used or None)
    return PartitionSpec(*entries)


def _axes_of(name: str, rank: int, logical_axes: LogicalAxes) -> tuple:
  """Logical names of an array's dimensions, None where it has none."""
  for pattern, axes in logical_axes.items():
    if fnmatch.fnmatchcase(f"/{name}", f"*/{pattern}"):
      if rank >= len(axes):
        return (None,) * (rank - len(axes)) + tuple(axes)
      return tuple(axes[:rank]) if axes[0] == "rows" else (None,) * rank
  return (None,) * rank


def local() -> Placement:
  """Copies of everything on this process's devices; batches are split."""
  return MeshOptions().place(jax.local_devices())


def put(
  batch: Mapping[str, np.ndarray],
  sharding: NamedSharding,
  rows: np.ndarray | None = None,
  num_rows: int | None = None,
) -> dict[str, jax.Array]:
  """Host arrays -> global arrays, each process giving what its devices hold.

  Args:
    batch: arrays with a leading dimension.
    sharding: splits the leading dimension alone.
    rows: which global rows the arrays hold, ascending; None for all.
    num_rows: global leading dimension; None for the arrays' own.
  """

  def one(value):
    count = len(value) if num_rows is None else num_rows

    def part(index):
      start, stop, _ = index[0].indices(count)
      if rows is None:
        return value[start:stop]
      first = np.searchsorted(rows, start)
      return value[first : first + stop - start]

    shape = (count, *value.shape[1:])
    return jax.make_array_from_callback(shape, sharding, part)

  return {key: one(value) for key, value in batch.items()}


def rows_of_process(sharding: NamedSharding, num_rows: int) -> np.ndarray:
  """Global rows, ascending, that the devices of this process hold."""
  parts = sharding.addressable_devices_indices_map((num_rows,)).values()
  held = np.zeros(num_rows, bool)
  for (rows,) in parts:
    held[rows] = True
  return np.flatnonzero(held)


def mesh_to_split_over() -> AbstractMesh | None:
  """The mesh in force; None where there is nothing to split by hand.

  So without a mesh, with one of a single device, and within jax.shard_map.
  """
  mesh = jax.sharding.get_abstract_mesh()
  manual = AxisType.Manual in getattr(mesh, "axis_types", ())
  return None if mesh.empty or mesh.size == 1 or manual else mesh


def axis_for(mesh: AbstractMesh, name: str, size: int) -> str | None:
  """The mesh axis to split a dimension over; None where it cannot be."""
  return name if size % mesh.shape.get(name, size + 1) == 0 else None


def per_device(
  fn: Callable[..., jax.Array], dims: Sequence[Any], *args: Any
) -> jax.Array:
  """fn(*args), each device on the rows and heads that it holds.

  XLA splits what it knows; a kernel it does not know must be split by hand.
  Without a mesh in force, or within jax.shard_map, it is a plain call. A
  dimension that the devices do not divide is not split: they repeat the work.

  Args:
    fn: of the arguments to an array that is split like the first of them.
    dims: what splits each argument: "rows" (B, ...), "heads" (H, ...), "rows
      and heads" (B, L, H, ...), or "" for nothing; a tree like the argument,
      or one name for all its arrays.
    *args: arrays, or trees of them; the first is (B, L, H, ...).
  """
  mesh = mesh_to_split_over()
  if mesh is None:
    return fn(*args)
  rows, _, heads = args[0].shape[:3]
  row, head = axis_for(mesh, "data", rows), axis_for(mesh, "model", heads)
  specs = {
    "": PartitionSpec(),
    "rows": PartitionSpec(row),
    "heads": PartitionSpec(head),
    "rows and heads": PartitionSpec(row, None, head),
  }
  return jax.shard_map(
    fn,
    in_specs=tuple(jax.tree.map(specs.__getitem__, dims)),
    out_specs=specs[dims[0]],
    check_vma=False,
  )(*args)
