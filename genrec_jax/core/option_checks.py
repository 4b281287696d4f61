# SPDX-License-Identifier: Apache-2.0
"""What numbers of a part may be, whoever makes it.

limits.py asks a config's numbers by their keys before parts are made of them;
these are for options that a part cannot do without, and say where a config has
them. Each raises a ValueError that names the first option that cannot be.
"""

from collections.abc import Callable
import math
import numbers
from typing import Any


def check_counts(part: Any, where: str, *names: str, least: int = 1) -> None:
  """Whole numbers of `least` or more.

  Args:
    part: that has the options.
    where: its path in a config.
    names: of the options.
    least: what is still allowed.
  """
  said = f"must be at least {least}, a whole number"
  _check(part, where, names, said, numbers.Integral, lambda x: x >= least)


def check_scales(part: Any, where: str, *names: str) -> None:
  """Finite numbers from 0 on."""
  said = "must be a number of 0 or more"
  _check(part, where, names, said, numbers.Real, lambda x: 0 <= x < math.inf)


def check_positive(part: Any, where: str, *names: str) -> None:
  """Finite numbers above 0."""
  said = "must be above 0"
  _check(part, where, names, said, numbers.Real, lambda x: 0 < x < math.inf)


def check_shares(part: Any, where: str, *names: str) -> None:
  """Numbers from 0 on, below 1."""
  said = "must be at least 0 and below 1"
  _check(part, where, names, said, numbers.Real, lambda x: 0 <= x < 1)


def _check(
  part: Any,
  where: str,
  names: tuple[str, ...],
  said: str,
  kind: type,
  fits: Callable[[Any], bool],
) -> None:
  for name in names:
    value = vars(part)[name]
    right = isinstance(value, kind) and not isinstance(value, bool)
    if not right or not fits(value):
      raise ValueError(f"{where}.{name}={value!r} {said}.")
