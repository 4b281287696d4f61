# SPDX-License-Identifier: Apache-2.0
"""Mixing tokens without parameters: heads change places with tokens.

    mix     (T, D) -> (H, T D / H)    row h: head h of every token, in order
    revert  (H, T D / H) -> (T, D)    what mix was given

A token is H heads of D / H entries, and a mixed token has one head of every
token (RankMixer, arXiv 2507.15551; the way back is that of TokenMixer-Large,
arXiv 2602.06563). Both are transpositions, so they move entries and compute
nothing. With H = T a mixed token has a token's width, and mix is its own
inverse. Leading dimensions are free.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def mix(x_TD: Float[Array, "*b T D"], heads: int) -> Float[Array, "*b H E"]:
  """One head of every token, for each head.

  Args:
    x_TD: tokens.
    heads: H, a divisor of D.

  Raises:
    ValueError: heads that do not divide the width.
  """
  *lead, tokens, width = x_TD.shape
  if heads < 1 or width % heads:
    raise ValueError(
      f"tokens of width {width} cannot be cut into {heads} heads: take a"
      " divisor of the width."
    )
  x = x_TD.reshape(*lead, tokens, heads, width // heads)
  return jnp.swapaxes(x, -3, -2).reshape(*lead, heads, -1)


def revert(y_HE: Float[Array, "*b H E"], tokens: int) -> Float[Array, "*b T D"]:
  """The tokens that mix has made y_HE of.

  Args:
    y_HE: mixed tokens.
    tokens: T.

  Raises:
    ValueError: not of so many tokens.
  """
  # Mixed tokens have T heads, one of each token.
  return mix(y_HE, tokens)
