# SPDX-License-Identifier: Apache-2.0
"""What is assumed to come of an item of a list, as tokens of its action.

    likely     its most likely action
    sampled    one that is drawn
    expected   the mean of the actions' vectors, by how likely they are
    unknown    that it is not known

A rule gives how much of each token of an action's type is read; the first token
stands for what is not known, which no rule but the last assumes. Of a token per
task each is asked for behind those before it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

# (logits, number of the action's token, key) -> weights.
Rule = Callable[
  [Float[Array, "B K C"], int, Key[Array, ""]], Float[Array, "B K C"]
]


def likely(logits_BKC, number, key):
  """All of the most likely; of the first of several."""
  del number, key
  best_BK = 1 + jnp.argmax(logits_BKC[..., 1:], axis=-1)
  return jax.nn.one_hot(best_BK, logits_BKC.shape[-1])


def sampled(logits_BKC, number, key):
  """All of one that is drawn."""
  key = jax.random.fold_in(key, number)
  drawn_BK = 1 + jax.random.categorical(key, logits_BKC[..., 1:])
  return jax.nn.one_hot(drawn_BK, logits_BKC.shape[-1])


def expected(logits_BKC, number, key):
  """Of each as much as it is likely."""
  del number, key
  p_BKC = jax.nn.softmax(logits_BKC[..., 1:].astype(jnp.float32))
  return jnp.pad(p_BKC, ((0, 0), (0, 0), (1, 0)))


def unknown(logits_BKC, number, key):
  """Nothing is known."""
  del number, key
  first_BK = jnp.zeros(logits_BKC.shape[:-1], jnp.int32)
  return jax.nn.one_hot(first_BK, logits_BKC.shape[-1])


RULES: dict[str, Rule] = {
  "likely": likely,
  "sampled": sampled,
  "expected": expected,
  "unknown": unknown,
}
