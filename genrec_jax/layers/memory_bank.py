# SPDX-License-Identifier: Apache-2.0
"""A memory of vectors by item that lies among a model's parameters.

    bank/vectors (R, D)   bank/written (R,)   bank/clock ()

It is carried from step to step (core/model_seams.py: CarryingModel): nothing
trains it, the model sets it by Outputs.assign, and it is saved, restored and
evaluated with the parameters of its step. So a test never reads what was
written after the checkpoint, and a run that goes on has the bank that it had.
Every device has the whole bank and writes the same: ids and vectors of all of
them are brought together first.
"""

from collections.abc import Mapping
import dataclasses

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.ops.memory_bank import Bank, num_bytes

_WHERE = "config.system.memory"
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class MemoryBank:
  """Options of a bank.

  Attributes:
    max_age: training steps after which a vector is not read any more; None =
      it never is too old.
    limit_mib: memory that it may take on a device, in MiB.
  """

  max_age: int | None = None
  limit_mib: float = 1024.0

  def __post_init__(self):
    if self.max_age is not None:
      check_counts(self, _WHERE, "max_age")
    check_positive(self, _WHERE, "limit_mib")

  def check(self, rows: int, width: int) -> None:
    """Raises a ValueError where a bank is larger than the limit."""
    taken = num_bytes(rows, width) / _MIB
    if taken > self.limit_mib:
      raise ValueError(
        f"a memory of {rows:,} rows of {width} numbers takes {taken:,.1f} MiB,"
        f" {taken - self.limit_mib:,.1f} MiB more than"
        f" {_WHERE}.limit_mib={self.limit_mib:g}: raise that, take an encoder"
        " of less width, or go without (config.system.memory=None)."
      )


class BankTable(nn.Module):
  """The arrays of a bank.

  Attributes:
    rows: R.
    width: D.
  """

  rows: int
  width: int

  carried = ("vectors", "written", "clock")
  by_item = ("vectors", "written")

  def setup(self):
    zeros = nn.initializers.zeros
    shape = (self.rows, self.width)
    self.vectors = self.param("vectors", zeros, shape, jnp.float32)
    self.written = self.param("written", zeros, shape[:1], jnp.int32)
    self.clock = self.param("clock", zeros, (), jnp.int32)

  def __call__(self) -> Bank:
    """The bank as it is before the step."""
    return Bank(self.vectors, self.written, self.clock)


def assigned(bank: Bank) -> Mapping[tuple[str, ...], tuple[Array, Array]]:
  """Outputs.assign of a BankTable, by path below it."""
  everywhere = jnp.ones((), bool)
  return {
    (name,): (everywhere, value)
    for name, value in (
      ("vectors", bank.vectors),
      ("written", bank.written),
      ("clock", bank.clock),
    )
  }
