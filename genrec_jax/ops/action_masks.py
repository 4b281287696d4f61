# SPDX-License-Identifier: Apache-2.0
"""Probabilities of combinations of actions, and of each action alone.

Combinations are numbered by their bit mask: bit t is task t.

    P(t) = sum over masks with bit t of P(mask)
    logit(t) = log P(t) - log(1 - P(t))        float32, exact in both tails
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def task_logits(log_p: Float[Array, "... masks"]) -> Float[Array, "... T"]:
  """Logits of the tasks, of log-probabilities of their 2^T combinations."""
  count = log_p.shape[-1]
  tasks = count.bit_length() - 1
  if count != 2**tasks or not tasks:
    raise ValueError(
      f"{count} combinations of actions; of T tasks there are 2^T."
    )
  mask_C = jnp.arange(count)
  logits = []
  for task in range(tasks):
    did_C = mask_C >> task & 1 == 1
    done, not_done = (
      jax.nn.logsumexp(jnp.where(where_C, log_p, -jnp.inf), axis=-1)
      for where_C in (did_C, ~did_C)
    )
    logits.append(done - not_done)
  return jnp.stack(logits, axis=-1)
