# SPDX-License-Identifier: Apache-2.0
"""How far one of our arrays is from the golden one, and what is tolerated.

Outputs and losses may err by 1e-5 absolute, a gradient by 1e-4 of its array's
largest element: element-wise relative errors of a correct float32 model reach
1e-3.
"""

import dataclasses

import numpy as np

VALUE_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Of one array.

  Attributes:
    name: as in the file.
    error: largest absolute error.
    relative: the same over the array's largest element.
    good: within tolerance.
  """

  name: str
  error: float
  relative: float
  good: bool

  @classmethod
  def of(
    cls, name: str, ours: np.ndarray, golden: np.ndarray, is_gradient: bool
  ) -> "Agreement":
    """Compares two arrays of one shape."""
    if ours.shape != golden.shape:
      raise ValueError(
        f"{name} has shape {golden.shape} in the file and {ours.shape} here."
      )
    error = float(np.max(np.abs(ours - golden), initial=0.0))
    largest = float(np.max(np.abs(golden), initial=0.0))
    relative = error / largest if largest else float(error > 0)
    # Written so that NaN is not good.
    if is_gradient:
      good = relative <= GRADIENT_TOLERANCE
    else:
      good = error <= VALUE_TOLERANCE
    return cls(name, error, relative, good)
