# SPDX-License-Identifier: Apache-2.0
"""Vectors and scores that are numbers: others order nothing.

A top-k takes NaN for -inf, so a model that has come to give NaN would find
nothing, and say nothing: queries and item vectors are looked at before. What
lies in the host's memory NumPy looks at: a program of XLA for it takes longer
to compile than to run, and keeps several MB.
"""

import jax
import jax.numpy as jnp
import numpy as np

_FIX = (
  "They order nothing: take --checkpoint=latest or best, whichever this is not,"
  " or train again with a lower learning rate."
)


class NotFinite(ValueError):
  """What a model gave orders nothing."""


def check_vectors(vectors: jax.Array | np.ndarray, what: str) -> None:
  """Raises a NotFinite where any value is NaN or infinite.

  Args:
    vectors: on whatever devices; of an accelerator one number is read.
    what: they are, in plural.
  """
  check(all_finite(vectors), what)


def all_finite(vectors: jax.Array | np.ndarray) -> jax.Array | np.bool_:
  """Whether no value is NaN or infinite; of an accelerator's, still there."""
  if _on_host(vectors):
    return np.isfinite(jax.device_get(vectors)).all()
  return jnp.isfinite(vectors).all()


def check(finite: jax.Array | np.ndarray | np.bool_, what: str) -> None:
  """Raises a NotFinite unless it was found that `what` are finite."""
  if not bool(finite):
    raise NotFinite(f"{what} of this model are not finite. {_FIX}")


def check_scores(scores: np.ndarray) -> None:
  """Raises a NotFinite where a score is NaN or +inf.

  -inf is the score of what may not be found.
  """
  check((scores < np.inf).all(), "the scores")


def _on_host(vectors: jax.Array | np.ndarray) -> bool:
  """Whether all of it lies in the memory of this process."""
  if not isinstance(vectors, jax.Array):
    return True
  kinds = {device.platform for device in vectors.sharding.device_set}
  return kinds == {"cpu"} and vectors.is_fully_addressable
