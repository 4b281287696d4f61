# SPDX-License-Identifier: Apache-2.0
"""A table split by rows answers as a whole one, and never becomes whole."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core import sharding
from genrec_jax.ops import row_exchange
from genrec_jax.ops.embedding_lookup import sharded_lookup, update_rows
from genrec_jax.train.rowwise import RowwiseAdagrad, RowwiseAdamW

_ROWS, _WIDTH = 64, 3
_AXES = sharding.AXES


@functools.cache
def _mesh():
  return sharding.MeshOptions("rowwise_tables", {"data": 4, "model": 2}).place()


def _table():
  values = np.random.default_rng(0).normal(size=(_ROWS, _WIDTH))
  return jax.device_put(values.astype(np.float32), _mesh().by_items)


def _ids(kind, shape):
  rng = np.random.default_rng(1)
  ids = {
    "even": rng.integers(0, _ROWS, shape),
    # All of one device's rows, in every place: the fullest buffers there are.
    "one owner": rng.integers(8, 16, shape),
    "one row": np.full(shape, 7),
  }[kind]
  return jnp.asarray(ids, jnp.int32)


@pytest.fixture(params=[(2, 16), (0, 2)], ids=["roomy", "tight"])
def room(request, monkeypatch):
  """Buffers of the usual size, and of two ids, so that rounds are needed."""
  slack, spare = request.param
  monkeypatch.setattr(row_exchange, "_SLACK", slack)
  monkeypatch.setattr(row_exchange, "_SPARE", spare)


@pytest.mark.parametrize("shape", [(16, 5), (3, 7)])
def test_lookup_and_gradient_are_those_of_a_whole_table(shape, room):
  table = _table()
  cotangent = np.random.default_rng(2).normal(size=(*shape, _WIDTH))
  cotangent = jnp.asarray(cotangent, jnp.float32)

  @jax.jit
  def split(table, ids):
    look = lambda t: sharded_lookup(t, ids, _mesh().mesh, _AXES)  # noqa: E731
    vectors, back = jax.vjp(look, table)
    return vectors, back(cotangent)[0]

  whole = np.asarray(table)
  for kind in ("even", "one owner", "one row"):
    ids = _ids(kind, shape)
    vectors, gradient = split(table, ids)
    np.testing.assert_array_equal(vectors, whole[ids])
    expected = np.zeros_like(whole)
    np.add.at(expected, np.asarray(ids), np.asarray(cotangent))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert gradient.sharding.is_equivalent_to(table.sharding, 2)


@pytest.mark.slow
def test_an_id_beyond_the_table_is_nan():
  ids = jnp.array([1, _ROWS, 2**31 - 1, -1], jnp.int32)
  vectors = sharded_lookup(_table(), ids, _mesh().mesh, _AXES)
  assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, True]


def _reference(optimizer, rows, moments, ids, grads, rate):
  """The same step with the whole table's gradient, row by row."""
  dense = np.zeros(rows.shape, np.float64)
  np.add.at(dense, ids, grads)
  rows = rows.astype(np.float64)
  moments = {k: v.astype(np.float64) for k, v in moments.items()}
  for row in set(ids.tolist()) - {0}:
    g, square = dense[row], np.mean(dense[row] ** 2)
    if isinstance(optimizer, RowwiseAdagrad):
      moments["second"][row] += square
      root = np.sqrt(moments["second"][row]) + optimizer.eps
      rows[row] -= rate * g / root
      continue
    b1, b2 = optimizer.b1, optimizer.b2
    moments["steps"][row] += 1
    t = moments["steps"][row]
    v = b2 * moments["second"][row] + (1 - b2) * square
    moments["second"][row] = v
    m = g
    if b1:
      m = b1 * moments["first"][row] + (1 - b1) * g
      moments["first"][row] = m
      m = m / (1 - b1**t)
    change = m / (np.sqrt(v / (1 - b2**t)) + optimizer.eps)
    rows[row] -= rate * (change + optimizer.weight_decay * rows[row])
  dense[0] = 0
  return rows, moments, np.sum(dense**2)


_ADAMW = RowwiseAdamW(learning_rate=0.1, b2=0.9, weight_decay=0.1)


@pytest.mark.parametrize(
  ("optimizer", "axes", "room"),
  [
    (RowwiseAdagrad(learning_rate=0.1), _AXES, (0, 2)),
    (RowwiseAdamW(learning_rate=0.1, b1=0.0, b2=0.9), _AXES, (2, 16)),
    (_ADAMW, _AXES, (0, 2)),
    (_ADAMW, (), (2, 16)),
  ],
  ids=["adagrad", "adamw without b1", "adamw", "adamw of a whole table"],
  indirect=["room"],
)
def test_three_row_wise_steps_are_the_dense_reference(optimizer, axes, room):
  table = _table()
  moments = optimizer.init(table)
  if axes:
    moments = jax.device_put(moments, _mesh().by_items)
  rows = np.asarray(table)
  expected = (rows, jax.tree.map(np.asarray, moments), 0.0)
  start = rows.copy()
  touched = set()

  @jax.jit
  def step(table, moments, lookups):
    return update_rows(
      functools.partial(optimizer.update, 0.1),
      table,
      moments,
      lookups,
      _mesh().mesh,
      axes,
    )

  for number in range(3):
    rng = np.random.default_rng(number)
    # Two lookups that share rows, with many duplicates and some padding.
    ids = [rng.integers(0, 20, (8, 4)), rng.integers(10, 40, 5)]
    grads = [rng.normal(size=(*x.shape, _WIDTH)) for x in ids]
    table, moments, squares = step(
      table,
      moments,
      [
        (jnp.asarray(i, jnp.int32), jnp.asarray(g, jnp.float32))
        for i, g in zip(ids, grads, strict=True)
      ],
    )
    flat = np.concatenate([x.reshape(-1) for x in ids])
    grads = np.concatenate([g.reshape(-1, _WIDTH) for g in grads])
    expected = _reference(optimizer, *expected[:2], flat, grads, 0.1)
    touched |= set(flat.tolist()) - {0}
  np.testing.assert_allclose(table, expected[0], atol=2e-5)
  for name, value in moments.items():
    np.testing.assert_allclose(value, expected[1][name], atol=2e-5)
  np.testing.assert_allclose(squares, expected[2], rtol=1e-5)
  others = sorted(set(range(_ROWS)) - touched)
  assert 0 in others
  np.testing.assert_array_equal(np.asarray(table)[others], start[others])


def test_no_array_of_the_programs_is_larger_than_a_share_of_the_table():
  """Neither an all-gather of the table nor a gradient as large as it."""
  rows, width, count = 1 << 16, 8, 64
  placement = _mesh()

  def step(table, moments, ids, cotangent):
    vectors = sharded_lookup(table, ids, placement.mesh, _AXES)
    optimizer = RowwiseAdagrad(learning_rate=0.1)
    table, moments, _ = update_rows(
      functools.partial(optimizer.update, 0.1),
      table,
      moments,
      [(ids, cotangent * vectors)],
      placement.mesh,
      _AXES,
    )
    return table, moments

  def shape(*size, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(size, dtype, sharding=placement.by_items)

  text = (
    jax.jit(step, donate_argnums=(0, 1))
    .lower(
      shape(rows, width),
      {"second": shape(rows)},
      shape(count, dtype=jnp.int32),
      shape(count, width),
    )
    .compile()
    .as_text()
  )
  assert "all-to-all" in text
  assert "all-gather" not in text
  share = rows * width // 8
  sizes = [
    int(np.prod([int(n) for n in dims.split(",")]))
    for dims in re.findall(r"f32\[([\d,]+)\]", text)
  ]
  assert max(sizes) == share
