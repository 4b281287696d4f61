# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts in the place of a layer's feed-forward part.

    y = ffn(x, deterministic)                          any PositionWise part
    y, routed = feed(ffn, x, where, deterministic)     and how it routed tokens

A backbone that is given any feed-forward part calls `feed`: `routed` is None of
one that routes nothing. It passes the Routed of its layers on, whose `assign`
then begins with the names of the modules that they lie below (`below`).
"""

import dataclasses
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core import seams
from genrec_jax.layers.moe import MixtureOfExperts
from genrec_jax.layers.routers import Routed
from genrec_jax.layers.transformer import PositionWise


@runtime_checkable
class RoutedPositionWise(PositionWise, Protocol):
  """A feed-forward part that sends each token to some of its experts."""

  def routed(
    self,
    x: Float[Array, "*b D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
  ) -> tuple[Float[Array, "*b D"], Routed]:
    """Position-wise, width kept; and how real tokens were routed."""


class ExpertFeedForward(MixtureOfExperts):
  """A MixtureOfExperts that is called as any feed-forward part is."""

  def __call__(
    self, x: Float[Array, "*b D"], deterministic: bool
  ) -> Float[Array, "*b D"]:
    """Position-wise, width kept; all tokens are real."""
    return self.routed(x, jnp.ones(x.shape[:-1], bool), deterministic)[0]

  def routed(
    self,
    x: Float[Array, "*b D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
  ) -> tuple[Float[Array, "*b D"], Routed]:
    """See RoutedPositionWise; where dropout is, routers move too."""
    return super().__call__(x, where, train=not deterministic)


def feed(
  ffn: PositionWise,
  x: Float[Array, "*b D"],
  where: Bool[Array, "*b"],
  deterministic: bool,
) -> tuple[Float[Array, "*b D"], Routed | None]:
  """A feed-forward part of either kind; None where it routes nothing."""
  if seams.offers(ffn, RoutedPositionWise):
    return ffn.routed(x, where, deterministic)
  return ffn(x, deterministic), None


def below(name: str, routed: Routed) -> Routed:
  """The same, of a module that lies below this name."""
  assign = {(name, *path): pair for path, pair in routed.assign.items()}
  return dataclasses.replace(routed, assign=assign)
