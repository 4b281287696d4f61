# SPDX-License-Identifier: Apache-2.0
"""A residual quantiser whose codes are kept apart within groups.

    diversity_l = -log e^{<q, e_j>} / sum_{k != c} e^{<q, e_k>}

q is the code c that a vector has at level l, j another code of c's group, drawn
anew each time (LETTER, arXiv 2405.07314, section 3.2: a code comes near those
of its group and far from all others, so that codes spread alike). Groups are
those of codes that are near, of bounded sizes (ops/bounded_groups.py), made
anew every `regroup_steps` steps. The loss moves codes alone, and so wants codes
by gradient. Groups and the step are parameters that the layer sets itself.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from genrec_jax.core.option_checks import check_counts
from genrec_jax.layers.quantizer import Quantized, ResidualQuantizer
from genrec_jax.ops.bounded_groups import (
  bounded_groups,
  check_bounds,
  drawn_beside,
)
from genrec_jax.ops.precision import SCORES

_OWN = -1e9


class DiverseQuantizer(ResidualQuantizer):
  """See the module docstring.

  Attributes:
    num_groups: of a level's codes.
    smallest: codes of a group, at least; 2 or more.
    largest: at most.
    regroup_steps: steps between two groupings.
  """

  ema: bool = False
  num_groups: int = 10
  smallest: int = 10
  largest: int = 60
  regroup_steps: int = 12

  def __post_init__(self):
    super().__post_init__()
    if self.ema:
      raise ValueError(
        "DiverseQuantizer moves codes by gradient: set ema=False."
      )
    if self.smallest < 2:
      raise ValueError(
        f"smallest={self.smallest} must be at least 2: a code is compared with"
        " another one of its group."
      )
    check_counts(self, "config.system.quantizer", "regroup_steps")
    for size in self.level_sizes:
      check_bounds(size, self.num_groups, self.smallest, self.largest)

  def setup(self):
    super().setup()

    def zeros(name, *shape):
      return self.param(name, lambda key: jnp.zeros(shape, jnp.float32))

    self.groups = [
      zeros(f"groups_{level}", size)
      for level, size in enumerate(self.level_sizes)
    ]
    self.age = zeros("age")

  def __call__(
    self,
    z_TD: Float[Array, "T D"],
    where_T: Bool[Array, "T"],
    *,
    train: bool,
  ) -> Quantized:
    """As ResidualQuantizer, in training with `diversity`: a mean over levels.

    Takes keys of the stream "dropout".
    """
    found = super().__call__(z_TD, where_T, train=train)
    if not train:
      return found
    total_T, assign = jnp.zeros(z_TD.shape[0]), dict(found.assign)
    due = jnp.mod(jax.lax.stop_gradient(self.age), self.regroup_steps) == 0
    for number, level in enumerate(self.level):
      book_CD, _, _ = level()
      group_C = self._groups(number, book_CD, due)
      assign[(f"groups_{number}",)] = _everywhere(group_C)
      total_T += diversity(
        book_CD,
        found.codes[:, number],
        group_C.astype(jnp.int32),
        self.make_rng("dropout"),
      )
    age = jax.lax.stop_gradient(self.age) + 1
    assign[("age",)] = _everywhere(age)
    return dataclasses.replace(
      found, assign=assign, diversity=total_T / len(self.level_sizes)
    )

  def _groups(self, number, book_CD, due):
    """Groups of a level's codes: those of before, or made anew."""
    fixed_CD = jax.lax.stop_gradient(book_CD)
    key = self.make_rng("dropout")

    def again():
      made_C = bounded_groups(
        fixed_CD,
        key,
        num_groups=self.num_groups,
        smallest=self.smallest,
        largest=self.largest,
      )
      return made_C.astype(jnp.float32)

    kept_C = jax.lax.stop_gradient(self.groups[number])
    return jax.lax.cond(due, again, lambda: kept_C)


def diversity(
  book_CD: Float[Array, "C D"],
  code_T: Array,
  group_C: Array,
  key: jax.Array,
) -> Float[Array, "T"]:
  """The loss of each code that was taken; see the module docstring."""
  drawn_T, there_T = drawn_beside(group_C, code_T, key)
  scores_TC = jnp.matmul(book_CD[code_T], book_CD.T, precision=SCORES)
  own_TC = jnp.arange(book_CD.shape[0])[None, :] == code_T[:, None]
  scores_TC = jnp.where(own_TC, _OWN, scores_TC)
  positive_T = jnp.take_along_axis(scores_TC, drawn_T[:, None], axis=1)[:, 0]
  loss_T = jax.nn.logsumexp(scores_TC, axis=1) - positive_T
  return jnp.where(there_T, loss_T, 0.0)


def _everywhere(value):
  return jnp.ones_like(value, dtype=bool), value
