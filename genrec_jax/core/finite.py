# SPDX-License-Identifier: Apache-2.0
"""Vectors and scores that are numbers: others order nothing.

A top-k takes NaN for -inf, so a model that has come to give NaN would find
nothing, and say nothing: queries and item vectors are looked at before.
"""

import jax
import jax.numpy as jnp
import numpy as np

_FIX = (
  "They order nothing: take --checkpoint=latest or best, whichever this is not,"
  " or train again with a lower learning rate."
)


def check_vectors(vectors: jax.Array | np.ndarray, what: str) -> None:
  """Raises a ValueError where any value is NaN or infinite.

  Args:
    vectors: on whatever devices; one number is read.
    what: they are, in plural.
  """
  check(jnp.isfinite(vectors).all(), what)


def check(finite: jax.Array | np.ndarray | np.bool_, what: str) -> None:
  """Raises a ValueError unless it was found that `what` are finite."""
  if not bool(finite):
    raise ValueError(f"{what} of this model are not finite. {_FIX}")


def check_scores(scores: np.ndarray) -> None:
  """Raises a ValueError where a score is NaN or +inf.

  -inf is the score of what may not be found.
  """
  check((scores < np.inf).all(), "the scores")
