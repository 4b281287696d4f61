# SPDX-License-Identifier: Apache-2.0
"""Attention of one new token per beam: over what beams share, and their own.

    y_bk = softmax([q_bk K_shared_b | q_bk K_own_bk] + bias) [V_shared_b; V_own]

The history of a request (or an encoder's output) is the same for all of its
beams, so its keys and values are kept once per request and read by K queries at
a time; only the few tokens that a beam has generated are kept per beam.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def beam_attention(
  q_BKHE: Float[Array, "B K H E"],
  shared: tuple[Float[Array, "B L H E"], Float[Array, "B L H E"]] | None,
  own: tuple[Float[Array, "B K T H E"], Float[Array, "B K T H E"]] | None,
  *,
  keep_BL: Bool[Array, "B L"] | None = None,
  shared_bias_BHL: Float[Array, "#B #H L"] | None = None,
  own_bias_HT: Float[Array, "#H T"] | None = None,
  scale: float = 1.0,
) -> Float[Array, "B K H E"]:
  """Softmax attention of beams; 0 where a beam sees nothing.

  Args:
    q_BKHE: one query per beam.
    shared: keys and values of the request; None for none.
    own: keys and values of the beam's own tokens, the new one included.
    keep_BL: which shared keys exist; None = all.
    shared_bias_BHL: added to the scores of shared keys.
    own_bias_HT: added to the scores of own keys.
    scale: multiplies q k^T.
  """
  scores, masks = [], []
  if shared is not None:
    s = jnp.einsum("bkhe,blhe->bkhl", q_BKHE, shared[0]).astype(jnp.float32)
    s = s * scale
    if shared_bias_BHL is not None:
      s = s + shared_bias_BHL[:, None]
    keep = jnp.ones(s.shape[::3], bool) if keep_BL is None else keep_BL
    scores.append(s)
    masks.append(jnp.broadcast_to(keep[:, None, None, :], s.shape))
  if own is not None:
    s = jnp.einsum("bkhe,bkthe->bkht", q_BKHE, own[0]).astype(jnp.float32)
    s = s * scale
    if own_bias_HT is not None:
      s = s + own_bias_HT[None, None]
    scores.append(s)
    masks.append(jnp.ones(s.shape, bool))
  mask = jnp.concatenate(masks, axis=-1)
  # A finite floor: what sees nothing gets uniform weights, which the second
  # mask removes, and not NaN.
  floor = jnp.finfo(jnp.float32).min
  weights = jax.nn.softmax(
    jnp.where(mask, jnp.concatenate(scores, axis=-1), floor)
  )
  weights = jnp.where(mask, weights, 0).astype(q_BKHE.dtype)
  y = jnp.zeros_like(q_BKHE)
  start = 0
  if shared is not None:
    start = shared[1].shape[1]
    y = y + jnp.einsum("bkhl,blhe->bkhe", weights[..., :start], shared[1])
  if own is not None:
    y = y + jnp.einsum("bkht,bkthe->bkhe", weights[..., start:], own[1])
  return y


def follow(
  own: tuple[Float[Array, "B P T H E"], Float[Array, "B P T H E"]] | None,
  new: tuple[Float[Array, "B K H E"], Float[Array, "B K H E"]],
  parents_BK: Int[Array, "B K"],
) -> tuple[Array, Array]:
  """Keys and values of what each beam has generated, its new token the last.

  Args:
    own: of the P beams of the step before; None in the first step.
    new: of the new tokens.
    parents_BK: the beam of the step before that each one goes on from.

  Returns:
    Two (B, K, T + 1, H, E).
  """
  new_k, new_v = (x[:, :, None] for x in new)
  if own is None:
    return new_k, new_v
  index = parents_BK[:, :, None, None, None]
  k, v = (jnp.take_along_axis(x, index, axis=1) for x in own)
  return jnp.concatenate([k, new_k], 2), jnp.concatenate([v, new_v], 2)
