# SPDX-License-Identifier: Apache-2.0
"""A bank of vectors against a dictionary."""

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.ops import memory_bank
from genrec_jax.ops.memory_bank import Bank, num_bytes

_R, _D, _N = 12, 3, 7
_write = jax.jit(memory_bank.write)
_read = jax.jit(memory_bank.read, static_argnames="max_age")
_age = jax.jit(memory_bank.age)
_AGES = (None, 1, 4)


def _random_write(rng):
  """Seven ids of twelve: some twice, some padding, some not to be written."""
  return (
    rng.integers(0, _R, _N).astype(np.int32),
    rng.normal(size=(_N, _D)).astype(np.float32),
    rng.random(_N) < 0.7,
  )


def test_many_writes_are_those_of_a_dict():
  rng = np.random.default_rng(0)
  bank, model = Bank.empty(_R, _D), {}
  twice = old = 0
  for tick in range(1, 301):
    ids, vectors, where = _random_write(rng)
    before = np.asarray(bank.vectors), np.asarray(bank.written)
    bank = _write(bank, ids, vectors, where)
    real = [(i, v) for i, v, w in zip(ids, vectors, where, strict=True) if w]
    mine = {int(i): (v, tick) for i, v in real if i}
    twice += len(mine) < sum(i > 0 for i, _ in real)
    model |= mine
    # No bit of another row, and no row of padding.
    others = [row for row in range(_R) if row not in mine]
    after = np.asarray(bank.vectors), np.asarray(bank.written)
    for now, then in zip(after, before, strict=True):
      np.testing.assert_array_equal(now[others], then[others])
    assert int(bank.clock) == tick
    asked = rng.integers(0, _R, (2, 5)).astype(np.int32)
    for max_age in _AGES:
      found, known = map(np.asarray, _read(bank, asked, max_age=max_age))
      for place in np.ndindex(asked.shape):
        there = model.get(int(asked[place]))
        fresh = there is not None
        if fresh and max_age is not None and tick - there[1] > max_age:
          fresh, old = False, old + 1
        assert known[place] == fresh
        if there is not None:
          np.testing.assert_array_equal(found[place], there[0])
    ages = np.asarray(_age(bank, asked))
    for place in np.ndindex(asked.shape):
      there = model.get(int(asked[place]))
      assert ages[place] == tick - (0 if there is None else there[1])
  assert len(model) == _R - 1 and twice > 50 and old > 50


def test_what_was_just_written_is_read_and_is_as_young_as_can_be():
  rng = np.random.default_rng(1)
  ids = np.array([3, 5, 3], np.int32)
  vectors = rng.normal(size=(3, _D)).astype(np.float32)
  bank = _write(Bank.empty(_R, _D), ids, vectors, np.ones(3, bool))
  found, known = _read(bank, np.array([3, 5, 4]), max_age=1)
  np.testing.assert_array_equal(found[:2], vectors[[2, 1]])
  np.testing.assert_array_equal(known, [True, True, False])
  np.testing.assert_array_equal(_age(bank, ids), 0)


def test_no_gradient_goes_into_a_bank_or_comes_out():
  ids = jnp.array([1, 2, 2], jnp.int32)

  def loss(stored, vectors):
    bank = Bank(stored, jnp.ones(_R, jnp.int32), jnp.ones((), jnp.int32))
    bank = memory_bank.write(bank, ids, vectors, jnp.ones(3, bool))
    found, _ = memory_bank.read(bank, jnp.arange(_R, dtype=jnp.int32))
    return jnp.sum(found**2)

  given = jnp.ones((_R, _D)), jnp.full((3, _D), 2.0)
  value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(*given)
  assert value == (_R - 2) * _D + 2 * _D * 4
  assert not any(np.asarray(g).any() for g in gradients)


def test_bytes_are_those_of_the_arrays():
  arrays = jax.tree.leaves(Bank.empty(9, 5))
  assert num_bytes(9, 5) == sum(x.nbytes for x in arrays)
