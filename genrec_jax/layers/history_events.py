# SPDX-License-Identifier: Apache-2.0
"""Events of a list as vectors: features of whom they are, what came of them.

    e_j = [E_g[id_gj] for g] + A bits_j        (B, L, H, G D)

E is the table of features (layers/feature_embedding.py), A a matrix for the bit
mask of the event's action. In a user's history the features are those of an
item, in an item's audience those of a user.
"""

from collections.abc import Callable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.types import Batch


def action_layer(width: int, embedding_init_std: float) -> nn.Dense:
  """What makes vectors (..., width) of actions, one entry each (..., A).

  Of the size of what they are added to: fifty events are summed.
  """
  return nn.Dense(
    width,
    use_bias=False,
    kernel_init=nn.initializers.normal(embedding_init_std),
  )


def history_events(
  batch: Batch,
  embedding: Callable[..., Array],
  columns: tuple[int, ...],
  action: Callable[[Array], Array],
  num_actions: int,
  of: str = "history",
) -> Float[Array, "B L H E"]:
  """The events of every position's list, in float32; padding is arbitrary.

  Args:
    batch: of data/layouts/pointwise.py, or audience_rows.py.
    embedding: (ids, columns) -> vectors.
    columns: places of the events' features among all.
    action: bits (..., A) -> (..., G D).
    num_actions: A.
    of: "history" or "audience".
  """
  events_BLHGD = embedding(batch[f"{of}_features_BLHG"], columns)
  bit_A = jnp.arange(num_actions)[None, None, None, :]
  bits_BLHA = batch[f"{of}_action_BLH"][..., None] >> bit_A & 1
  action_BLHE = action(bits_BLHA.astype(jnp.float32))
  return events_BLHGD.reshape(action_BLHE.shape) + action_BLHE
