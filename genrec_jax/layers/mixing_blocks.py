# SPDX-License-Identifier: Apache-2.0
"""Blocks that let tokens of features meet, and treat each by its own: (T, D).

    MixBlock        s = LN(mixer(x) + x),   x <- LN(ffn(s) + s)
    MixRevertBlock  h = mix(x),             h <- h + mixed_ffn(RMSNorm(h))
                    r = revert(h),          x <- x + ffn(RMSNorm(r))

A mixer moves or attends; ffn is any feed-forward part, one for each slot
(layers/slot_feed_forward.py), with experts (layers/slot_experts.py), or one for
all. The first is RankMixer's (arXiv 2507.15551): what it joins are tokens with
mixed ones, of other features. The second, of TokenMixer-Large (arXiv
2602.06563), goes back before it joins, so that x reaches every layer unmixed;
heads and tokens need not be as many. Without a mixer tokens never meet.

Both are called with `dense` to send tokens by the routers of training, and
return what of their feed-forward parts has routed, if anything has.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, Protocol, runtime_checkable

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core import seams
from genrec_jax.core.seams import LogicalAxes
from genrec_jax.layers import transformer
from genrec_jax.layers.expert_feed_forward import below, feed
from genrec_jax.layers.routers import Routed
from genrec_jax.layers.slot_experts import DenselyTrained
from genrec_jax.layers.transformer import Heads, PositionWise
from genrec_jax.ops.token_mixing import mix, revert

_WHERE = "config.system.interactions.block"


@runtime_checkable
class Block(Protocol):
  """One layer of a stack (layers/mixing_stack.py).

  Attributes:
    logical_axes: names of its parameters' dimensions (core/sharding.py).
    trains_densely: whether it may be called with `dense`.
  """

  logical_axes: LogicalAxes
  trains_densely: bool

  def __call__(
    self,
    x_TD: Float[Array, "*b T D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
    dense: bool = False,
  ) -> tuple[Float[Array, "*b T D"], tuple[Routed, ...]]:
    """Tokens of the same shape, and how they were routed."""


@dataclasses.dataclass(frozen=True)
class HeadMixing:
  """Every token gets one head of all of them; there is nothing to learn."""

  logical_axes = {}

  def __call__(self, x_TD: Float[Array, "*b T D"]) -> Float[Array, "*b T D"]:
    """Mixed tokens, as many and as wide.

    Raises:
      ValueError: tokens that do not divide their width.
    """
    return mix(x_TD, x_TD.shape[-2])


class SlotAttention(nn.Module):
  """Self-attention of an impression's tokens, in the place of mixing.

  Attributes:
    num_heads: of width D / num_heads each.
    dtype: of the products; softmax is float32.
  """

  num_heads: int
  dtype: str = "float32"

  logical_axes = transformer.LOGICAL_AXES

  @nn.compact
  def __call__(self, x_TD: Float[Array, "*b T D"]) -> Float[Array, "*b T D"]:
    """What each token reads of all.

    Raises:
      ValueError: heads that do not divide the width.
    """
    width = x_TD.shape[-1]
    if self.num_heads < 1 or width % self.num_heads:
      raise ValueError(
        f"{_WHERE}.mixer.num_heads={self.num_heads} must divide the width"
        f" {width}."
      )
    head_width = width // self.num_heads
    heads = Heads(width, self.num_heads, head_width, self.dtype, name="heads")
    q = heads.queries(x_TD)
    k, v = heads.keys_values(x_TD)
    scores = jnp.einsum("...qhe,...khe->...hqk", q, k)
    weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(v.dtype)
    return heads.merge(jnp.einsum("...hqk,...khe->...qhe", weights, v))


class MixBlock(nn.Module):
  """See the module docstring; norms come after the joins.

  Attributes:
    ffn: feed-forward part.
    mixer: of tokens to as many; None leaves them as they are.
    residual: with the joins.
    dtype: of what norms return; their statistics are float32.
  """

  ffn: PositionWise
  mixer: Callable[..., Array] | None = HeadMixing()
  residual: bool = True
  dtype: str = "float32"

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    mixer = {} if self.mixer is None else self.mixer.logical_axes
    return {**_below("ffn", self.ffn.logical_axes), **_below("mixer/*", mixer)}

  @property
  def trains_densely(self) -> bool:
    """See Block."""
    return seams.offers(self.ffn, DenselyTrained)

  @nn.compact
  def __call__(
    self,
    x_TD: Float[Array, "*b T D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
    dense: bool = False,
  ) -> tuple[Float[Array, "*b T D"], tuple[Routed, ...]]:
    """See Block."""

    def join(name, y, x):
      y = y + x if self.residual else y
      return nn.LayerNorm(dtype=self.dtype, name=name)(y)

    s_TD = x_TD
    if self.mixer is not None:
      s_TD = join("mixed_norm", self.mixer(x_TD), x_TD)
    y_TD, routed = _feed("ffn", self.ffn, s_TD, where, deterministic, dense)
    return join("norm", y_TD, s_TD), routed


class MixRevertBlock(nn.Module):
  """See the module docstring; norms come before the parts.

  Attributes:
    ffn: feed-forward part of tokens.
    mixed_ffn: of mixed tokens; None is one like ffn.
    heads: H, a divisor of D; None = T.
    residual: with x in the second join.
    dtype: of what norms return; their statistics are float32.
  """

  ffn: PositionWise
  mixed_ffn: PositionWise | None = None
  heads: int | None = None
  residual: bool = True
  dtype: str = "float32"

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    first, second = self._parts
    return {
      **_below("of_mixed", first.logical_axes),
      **_below("of_tokens", second.logical_axes),
    }

  @property
  def trains_densely(self) -> bool:
    """See Block.

    Raises:
      ValueError: one part can, and the other cannot.
    """
    found = {seams.offers(part, DenselyTrained) for part in self._parts}
    if len(found) > 1:
      raise ValueError(
        f"{_WHERE}: one of ffn and mixed_ffn has a router for training alone,"
        " and the other has none: give both one, or neither."
      )
    return found.pop()

  @property
  def _parts(self):
    given = self.ffn if self.mixed_ffn is None else self.mixed_ffn
    return given, self.ffn

  def setup(self):
    # Whole copies: what is in a part is each one's own.
    first, second = self._parts
    self.of_mixed, self.of_tokens = first.copy(), second.copy()
    self.mixed_norm = nn.RMSNorm(dtype=self.dtype)
    self.norm = nn.RMSNorm(dtype=self.dtype)

  def __call__(
    self,
    x_TD: Float[Array, "*b T D"],
    where: Bool[Array, "*b"],
    deterministic: bool,
    dense: bool = False,
  ) -> tuple[Float[Array, "*b T D"], tuple[Routed, ...]]:
    """See Block."""
    tokens = x_TD.shape[-2]
    h_HE = mix(x_TD, tokens if self.heads is None else self.heads)
    how = (where, deterministic, dense)
    y_HE, first = _feed("of_mixed", self.of_mixed, self.mixed_norm(h_HE), *how)
    r_TD = revert(h_HE + y_HE, tokens)
    y_TD, second = _feed("of_tokens", self.of_tokens, self.norm(r_TD), *how)
    return x_TD + y_TD if self.residual else y_TD, first + second


def _below(name: str, axes: LogicalAxes) -> dict[str, Any]:
  return {f"{name}/{path}": names for path, names in axes.items()}


def _feed(name, ffn, x_TD, where, deterministic, dense):
  """A feed-forward part of a block, by its name there."""
  if dense:
    return ffn.dense(x_TD), ()
  every_T = jnp.broadcast_to(where[..., None], x_TD.shape[:-1])
  y_TD, routed = feed(ffn, x_TD, every_T, deterministic)
  return y_TD, () if routed is None else (below(name, routed),)
