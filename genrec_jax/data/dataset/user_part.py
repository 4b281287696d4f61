# SPDX-License-Identifier: Apache-2.0
"""A fixed part of the users, drawn evenly: what is fitted on one half is
measured on the other."""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.core.option_checks import check_counts

# Odd, so that neighbours among users fall into different parts.
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class UserPart:
  """One of several parts of all users; parts do not overlap.

  Attributes:
    part: which, from 0.
    parts: how many there are.
    seed: of the draw, the same for parts that are to be apart.
  """

  part: int
  parts: int = 2
  seed: int = 0

  def __post_init__(self):
    where = "users"
    check_counts(self, where, "parts")
    check_counts(self, where, "part", least=0)
    if self.part >= self.parts:
      raise ValueError(
        f"{where}.part={self.part} is none of {self.parts} parts, 0 to"
        f" {self.parts - 1}."
      )

  def has(self, user: int) -> bool:
    """Whether a user index is of this part."""
    return bool(self.among(np.array([user]))[0])

  def apart(self, other: "UserPart") -> bool:
    """Whether another part has none of these users for certain."""
    same = (self.parts, self.seed) == (other.parts, other.seed)
    return same and self.part != other.part

  def among(self, users: Int[np.ndarray, "U"]) -> np.ndarray:
    """Which of these users are of this part, (U,)."""
    with np.errstate(over="ignore"):
      mixed = (users.astype(np.uint64) + np.uint64(self.seed + 1)) * _MIX
      mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
    return (mixed >> np.uint64(33)) % np.uint64(self.parts) == self.part
