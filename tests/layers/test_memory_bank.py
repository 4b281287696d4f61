# SPDX-License-Identifier: Apache-2.0
"""Options of a bank: how old, and how large."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.memory_bank import BankTable, MemoryBank, assigned
from genrec_jax.ops.memory_bank import write


@pytest.mark.parametrize("max_age", [0, -3, True])
def test_ages_below_one_are_refused(max_age):
  with pytest.raises(
    ValueError, match=r"memory\.max_age=.* must be at least 1, a whole number"
  ):
    MemoryBank(max_age=max_age)


def test_a_bank_that_is_too_large_says_by_how_much():
  memory = MemoryBank(limit_mib=1.0)
  memory.check(2_000, 128)  # .99 MiB
  with pytest.raises(
    ValueError,
    match=r"2,100 rows of 128 numbers takes 1\.0 MiB, 0\.0 MiB more than"
    r" config\.system\.memory\.limit_mib=1",
  ):
    memory.check(2_100, 128)
  with pytest.raises(ValueError, match=r"takes 49\.2 MiB, 48\.2 MiB more"):
    memory.check(100_000, 128)
  with pytest.raises(ValueError, match="limit_mib=0.0 must be above 0"):
    MemoryBank(limit_mib=0.0)


def test_a_table_starts_empty_and_is_assigned_whole():
  table = BankTable(rows=4, width=2)
  params = table.init(jax.random.key(0))["params"]
  assert set(params) == set(BankTable.carried)
  assert not any(np.asarray(x).any() for x in params.values())
  bank = table.apply({"params": params})
  ids = jnp.array([2], jnp.int32)
  bank = write(bank, ids, jnp.ones((1, 2)), jnp.ones(1, bool))
  found = assigned(bank)
  assert {path[0] for path in found} == set(params)
  for (name,), (where, value) in found.items():
    assert bool(where) and value.shape == params[name].shape
    assert value.dtype == params[name].dtype
