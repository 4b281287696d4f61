# SPDX-License-Identifier: Apache-2.0
"""Tables in a step: who holds them, and how single rows are updated.

A table is a parameter that its system names as ("rows", ...) in logical_axes.
Where the placement splits tables, modules meet them as RowShards. Where the
optimizer is DenseAndRowwise, no gradient of a table is ever an array of the
table's size: lookups are noted on a Tape, the loss is differentiated with
respect to their results, and rows are updated where they lie
(ops/embedding_lookup.py).
"""

from collections.abc import Callable, Mapping
import dataclasses
import fnmatch
import functools
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from genrec_jax.core.sharding import LogicalAxes, Placement
from genrec_jax.ops.embedding_lookup import RowShards, Tape, update_rows
from genrec_jax.train.rowwise import (
  DenseAndRowwise,
  Optimizer,
  RowwiseAdagrad,
  RowwiseAdamW,
)
from genrec_jax.train.state import TrainState

Path = tuple[str, ...]
Flat = dict[Path, Any]


@dataclasses.dataclass(frozen=True)
class Tables:
  """The tables among a system's parameters.

  Attributes:
    logical_axes: of the system.
    placement: where they lie; None for plain arrays.
  """

  logical_axes: LogicalAxes
  placement: Placement | None = None

  @property
  def axes(self) -> tuple[str, ...]:
    """Mesh axes that rows are split over."""
    return () if self.placement is None else self.placement.table_axes

  def split(self, params: Any) -> tuple[Any, Flat]:
    """Parameters without the tables, and the tables by path."""
    flat = traverse_util.flatten_dict(params)
    tables = {path: x for path, x in flat.items() if self._is_table(path)}
    rest = {path: x for path, x in flat.items() if path not in tables}
    return traverse_util.unflatten_dict(rest), tables

  def bind(self, params: Any, tapes: Mapping[Path, Tape] | None = None) -> Any:
    """Parameters as modules meet them, tables that are split as RowShards."""
    if not self.axes and not tapes:
      return params
    rest, tables = self.split(params)
    shards = {
      path: self._shards(rows, (tapes or {}).get(path))
      for path, rows in tables.items()
    }
    return join(rest, shards)

  def _shards(self, rows, tape) -> RowShards:
    mesh = None if self.placement is None else self.placement.mesh
    return RowShards(rows, mesh, self.axes, tape)

  def _is_table(self, path: Path) -> bool:
    name = "/" + "/".join(path)
    return any(
      axes[0] == "rows" and fnmatch.fnmatchcase(name, f"*/{pattern}")
      for pattern, axes in self.logical_axes.items()
    )

  def init(self, optimizer: Optimizer, params: Any) -> Any:
    """State of the optimizer at the start."""
    if not isinstance(optimizer, DenseAndRowwise):
      return optimizer.init(params)
    params, rows = self.split(params)
    return {
      "dense": optimizer.dense.init(params),
      "tables": _init_moments(optimizer.tables, rows),
    }

  def for_gradient(self, optimizer: Optimizer, params: Any) -> tuple[Any, Flat]:
    """What is differentiated as arrays, and the tables that are not."""
    if isinstance(optimizer, DenseAndRowwise):
      return self.split(params)
    return params, {}

  def zero_deltas(
    self, trace: Callable[[], dict[Path, tuple]], rows: Flat
  ) -> dict[Path, list[Array]]:
    """A zero for the result of every lookup that `trace` makes.

    Args:
      trace: path -> (ids, results) of the lookups, in their order.
      rows: the tables looked up.
    """
    if not rows:
      return {}
    results = {p: vectors for p, (_, vectors) in jax.eval_shape(trace).items()}
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), results)

  def apply(
    self,
    optimizer: Optimizer,
    state: TrainState,
    gradients: tuple[Any, dict[Path, list[Array]]],
    ids: dict[Path, list[Array]],
  ) -> tuple[Any, Any, Float[Array, ""]]:
    """Parameters and optimizer state after a step, and the gradient's norm.

    Args:
      optimizer: see for_gradient.
      state: before the step.
      gradients: of what for_gradient returned, and of every lookup.
      ids: of every lookup.
    """
    gradient, by_lookup = gradients
    if not isinstance(optimizer, DenseAndRowwise):
      updates, opt_state = optimizer.update(
        gradient, state.opt_state, state.params
      )
      params = optax.apply_updates(state.params, updates)
      return params, opt_state, optax.tree.norm(gradient)
    params, rows = self.split(state.params)
    updates, dense = optimizer.dense.update(
      gradient, state.opt_state["dense"], params
    )
    params = optax.apply_updates(params, updates)
    lookups = {
      path: list(zip(ids[path], by_lookup[path], strict=True)) for path in ids
    }
    rows, moments, squares = self._update_rows(
      optimizer.tables, state.step, rows, state.opt_state["tables"], lookups
    )
    norm = jnp.sqrt(jnp.square(optax.tree.norm(gradient)) + squares)
    return join(params, rows), {"dense": dense, "tables": moments}, norm

  def _update_rows(self, optimizer, step, rows, moments, lookups):
    """One row-wise step; also the sum of squares of the gradients."""
    rate, squares = optimizer.rate(step), jnp.float32(0)
    flat = {n: traverse_util.flatten_dict(m) for n, m in moments.items()}
    mesh = None if self.placement is None else self.placement.mesh
    rows = dict(rows)
    for path, pairs in lookups.items():
      if pairs:
        own = {name: flat[name][path] for name in flat}
        rows[path], own, square = update_rows(
          functools.partial(optimizer.update, rate),
          rows[path],
          own,
          pairs,
          mesh,
          self.axes,
        )
        squares = squares + square
        for name, value in own.items():
          flat[name][path] = value
    moments = {n: traverse_util.unflatten_dict(m) for n, m in flat.items()}
    return rows, moments, squares


def _init_moments(
  optimizer: RowwiseAdagrad | RowwiseAdamW, rows: Flat
) -> dict[str, Any]:
  """Moment name -> nested like the parameters, for every table."""
  by_path = {path: optimizer.init(x) for path, x in rows.items()}
  names = {name for moments in by_path.values() for name in moments}
  return {
    name: traverse_util.unflatten_dict(
      {path: moments[name] for path, moments in by_path.items()}
    )
    for name in sorted(names)
  }


def join(rest: Any, tables: Flat) -> Any:
  """Undoes Tables.split."""
  flat = traverse_util.flatten_dict(rest)
  return traverse_util.unflatten_dict({**flat, **tables})
