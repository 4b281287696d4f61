# SPDX-License-Identifier: Apache-2.0
"""Feature vectors grouped by meaning into tokens: (..., F, D0) -> (..., T, D).

    SlicedTokens  e = [x_f of group 1, x_f of group 2, ..]
                  x_t = e[s (t - 1) : s t] P_t + b_t            s = F D0 / T
    GroupTokens   x_g = MLP_g([x_f of group g]),  MLP(z) = gelu(z U + a) V + c
                  and a global token: MLP of all features side by side

A token is some features of one impression, and no event of a history. The first
orders features by group and cuts all in equal slices (RankMixer, arXiv
2507.15551); the second makes one token of each group, however wide that is
(TokenMixer-Large, arXiv 2602.06563). Groups name features by patterns of
fnmatch, such as "user.*"; every feature belongs to exactly one.
"""

from collections.abc import Sequence
import dataclasses
import fnmatch
import functools

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint

_WHERE = "config.system.interactions.tokens"


@dataclasses.dataclass(frozen=True)
class FeatureGroups:
  """Which features belong together.

  Attributes:
    features: names of all F vectors, in the order that they come in
      (data/layouts/pointwise.py: vector_names).
    groups: (label, patterns of names) of each group, in order.
  """

  features: tuple[str, ...]
  groups: tuple[tuple[str, tuple[str, ...]], ...]

  def __post_init__(self):
    # Says what is wrong with the names.
    _ = self.columns

  @functools.cached_property
  def columns(self) -> tuple[tuple[int, ...], ...]:
    """Places of each group's features, in the order of its patterns."""
    labels = [label for label, _ in self.groups]
    if len(set(labels)) < len(labels):
      raise ValueError(f"{_WHERE}.groups are {labels}: name each once.")
    owner: dict[str, str] = {}
    found = []
    for label, patterns in self.groups:
      names = [n for pattern in patterns for n in self._matches(label, pattern)]
      for name in names:
        if name in owner:
          raise ValueError(
            f"{_WHERE}: feature {name!r} is in group {owner[name]!r} and,"
            f" again, in {label!r}: let one pattern name it."
          )
        owner[name] = label
      if not names:
        raise ValueError(f"{_WHERE}: group {label!r} has no feature.")
      found.append(tuple(self.features.index(name) for name in names))
    left = [name for name in self.features if name not in owner]
    if left:
      raise ValueError(
        f"{_WHERE}: no group has {', '.join(left)}: every feature belongs to"
        " one."
      )
    return tuple(found)

  def _matches(self, label: str, pattern: str) -> list[str]:
    names = [n for n in self.features if fnmatch.fnmatchcase(n, pattern)]
    if not names:
      hint = choices_hint(pattern, self.features)
      raise ValueError(
        f"{_WHERE}: {pattern!r} of group {label!r} names no feature of the"
        f" layout.{hint}"
      )
    return names

  def check(self, count: int) -> None:
    """Raises a ValueError for another number of vectors than features."""
    if count != len(self.features):
      raise ValueError(
        f"{count} vectors come in, and {_WHERE} names {len(self.features)}"
        " features: give those of the layout."
      )


def _side_by_side(x_FD: Array, columns: Sequence[int]) -> Array:
  x_gD = x_FD[..., jnp.array(columns), :]
  return x_gD.reshape(*x_gD.shape[:-2], -1)


class SlicedTokens(nn.Module):
  """Equal slices of all features, each with a projection of its own.

  Attributes:
    groups: give the order.
    num_tokens: T, a divisor of all entries.
    width: D.
    dtype: of the products; parameters are float32.
  """

  groups: FeatureGroups
  num_tokens: int
  width: int
  dtype: str = "float32"

  logical_axes = {
    "project": ("slot", None, "width"),
    "project_bias": ("slot", "width"),
  }

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, _WHERE, "num_tokens", "width")

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D0"]) -> Float[Array, "*b T D"]:
    """T tokens.

    Raises:
      ValueError: slices that are not equal, or other vectors than features.
    """
    self.groups.check(x_FD.shape[-2])
    order = [place for group in self.groups.columns for place in group]
    e = _side_by_side(x_FD, order).astype(self.dtype)
    entries, count = e.shape[-1], self.num_tokens
    if entries % count:
      whole = [n for n in range(1, entries + 1) if entries % n == 0]
      nearest = min(whole, key=lambda n: (abs(n - count), n))
      raise ValueError(
        f"{_WHERE}.num_tokens={count} does not divide the {entries} entries of"
        f" {x_FD.shape[-2]} features of width {x_FD.shape[-1]}: take {nearest}."
      )
    part = entries // count
    x_Ts = e.reshape(*e.shape[:-1], count, part)
    init = nn.initializers.normal(part**-0.5)
    project = self.param("project", init, (count, part, self.width))
    bias = self.param(
      "project_bias", nn.initializers.zeros, (count, self.width)
    )
    y = jnp.einsum("...ts,tsd->...td", x_Ts, project.astype(self.dtype))
    lead = (1,) * (y.ndim - 2)
    return y + bias.astype(self.dtype).reshape(*lead, *bias.shape)


class GroupTokens(nn.Module):
  """A token for each group, and one of all features.

  Attributes:
    groups: T of them, or T - 1 with the global token, which is the last.
    width: D.
    hidden_width: of each MLP.
    global_token: with a token of all features.
    dtype: of the products; parameters are float32.
  """

  groups: FeatureGroups
  width: int
  hidden_width: int
  global_token: bool = True
  dtype: str = "float32"

  logical_axes = {
    "*_in/kernel": (None, "hidden"),
    "*_out/kernel": ("hidden", "width"),
  }

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, _WHERE, "width", "hidden_width")
    labels = [label for label, _ in self.groups.groups]
    if self.global_token and "global" in labels:
      raise ValueError(
        f"{_WHERE}: a group is called 'global' as the token of all features is:"
        " give it another label."
      )

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D0"]) -> Float[Array, "*b T D"]:
    """T tokens.

    Raises:
      ValueError: other vectors than features.
    """
    self.groups.check(x_FD.shape[-2])
    labels = [label for label, _ in self.groups.groups]
    members = [*self.groups.columns]
    if self.global_token:
      labels.append("global")
      members.append(tuple(range(x_FD.shape[-2])))

    def dense(name, features):
      return nn.Dense(features, dtype=self.dtype, name=name)

    tokens = []
    for label, columns in zip(labels, members, strict=True):
      z = _side_by_side(x_FD, columns).astype(self.dtype)
      h = nn.gelu(dense(f"{label}_in", self.hidden_width)(z))
      tokens.append(dense(f"{label}_out", self.width)(h))
    return jnp.stack(tokens, axis=-2)
