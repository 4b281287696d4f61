# SPDX-License-Identifier: Apache-2.0
"""Tokens of features through layers that mix them: (..., F, D0) -> (..., D).

    x = tokens(features)                 layers/feature_tokens.py
    x <- block(x), L times               layers/mixing_blocks.py
    out = mean over tokens of x          or of RMSNorm(x)

An interaction of feature vectors like those of layers/interactions.py, that may
say more than its vector (`meet`): vectors of inner layers, for auxiliary heads;
the vector by the routers of training alone; and how tokens were routed. With
`inter_layer` every so many layers, but for the last, take what came in so many
layers before once more, and are inner ones (TokenMixer-Large, arXiv 2602.06563,
says: a residual every two or three layers; this form of it is ours, and so is
that auxiliary heads sit where it ends).
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.seams import LogicalAxes
from genrec_jax.layers.expert_feed_forward import below
from genrec_jax.layers.mixing_blocks import Block


@dataclasses.dataclass(frozen=True)
class Met:
  """What comes of feature vectors that meet.

  Attributes:
    vector: (..., E), what serves.
    inner: (..., E) of each inner layer.
    dense: (..., E) by the routers of training alone; None without training, or
      without such routers.
    routed: of every mixture of experts.
  """

  vector: Any
  inner: tuple[Any, ...] = ()
  dense: Any = None
  routed: tuple[Any, ...] = ()


@runtime_checkable
class DeepInteraction(Protocol):
  """An interaction that says more than its vector.

  Attributes:
    logical_axes: names of its parameters' dimensions (core/sharding.py).
    feature_names: of the vectors that it is given, in their order.
    num_inner: inner layers that it gives vectors of.
  """

  logical_axes: LogicalAxes
  feature_names: tuple[str, ...]
  num_inner: int

  def meet(
    self,
    x_FD: Float[Array, "*b F D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
  ) -> Met:
    """All that comes of it."""


def meet(
  interactions: nn.Module,
  x_FD: Float[Array, "*b F D"],
  where: Bool[Array, "*b"],
  deterministic: bool,
) -> Met:
  """An interaction of either kind; one that says no more gives its vector.

  Args:
    interactions: of layers/interactions.py, or a DeepInteraction.
    x_FD: feature vectors.
    where: which impressions are real.
    deterministic: without it routers move, and those of training route.
  """
  if seams.offers(interactions, DeepInteraction):
    return interactions.meet(x_FD, where, deterministic)
  return Met(interactions(x_FD))


class MixingStack(nn.Module):
  """See the module docstring.

  Attributes:
    tokens: makes tokens of features.
    block: of which every layer has one of its own.
    num_layers: L.
    inter_layer: length of the residuals between layers; 0 = there are none.
    final_norm: RMSNorm before the mean, for blocks that norm before their
      parts.
    dtype: of what the norm returns; its statistics are float32.
  """

  tokens: nn.Module
  block: Block
  num_layers: int
  inter_layer: int = 0
  final_norm: bool = False
  dtype: str = "float32"

  def __post_init__(self):
    super().__post_init__()
    where = "config.system.interactions"
    check_counts(self, where, "num_layers")
    check_counts(self, where, "inter_layer", least=0)
    if self.inter_layer >= self.num_layers:
      raise ValueError(
        f"{where}.inter_layer={self.inter_layer}: a residual of that length"
        f" ends at none but the last of {self.num_layers} layers; make it"
        " shorter, or 0."
      )

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    parts = {"tokens": self.tokens, "blocks_*": self.block}
    return {
      f"{name}/{path}": axes
      for name, part in parts.items()
      for path, axes in part.logical_axes.items()
    }

  @property
  def feature_names(self) -> tuple[str, ...]:
    """See DeepInteraction."""
    return self.tokens.groups.features

  @property
  def num_inner(self) -> int:
    """See DeepInteraction."""
    if not self.inter_layer:
      return 0
    return (self.num_layers - 1) // self.inter_layer

  def setup(self):
    # Whole copies: what is in a block is each layer's own.
    self.blocks = [self.block.copy() for _ in range(self.num_layers)]
    if self.final_norm:
      self.norm = nn.RMSNorm(dtype=self.dtype)

  def __call__(self, x_FD: Float[Array, "*b F D0"]) -> Float[Array, "*b D"]:
    """What serves; all impressions are real."""
    return self.meet(x_FD, jnp.ones(x_FD.shape[:-2], bool), True).vector

  def meet(
    self,
    x_FD: Float[Array, "*b F D0"],
    where: Bool[Array, "*b"],
    deterministic: bool,
  ) -> Met:
    """See DeepInteraction."""
    x_TD = self.tokens(x_FD)
    vector, inner, routed = self._layers(x_TD, where, deterministic, False)
    dense = None
    training = not deterministic or self.is_initializing()
    if self.block.trains_densely and training:
      dense, _, _ = self._layers(x_TD, where, deterministic, True)
    return Met(vector, inner, dense, routed)

  def _layers(self, x_TD, where, deterministic, dense):
    kept, inner, all_routed = x_TD, [], []
    for layer, block in enumerate(self.blocks, 1):
      x_TD, routed = block(x_TD, where, deterministic, dense)
      name = f"blocks_{layer - 1}"
      all_routed += [below(name, one) for one in routed]
      between = self.inter_layer and layer % self.inter_layer == 0
      if between and layer < self.num_layers:
        x_TD = kept = x_TD + kept
        inner.append(jnp.mean(x_TD, axis=-2))
    if self.final_norm:
      x_TD = self.norm(x_TD)
    return jnp.mean(x_TD, axis=-2), tuple(inner), tuple(all_routed)
