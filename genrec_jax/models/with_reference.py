# SPDX-License-Identifier: Apache-2.0
"""A model that generates codes, beside a copy of it that stays as it was.

    logits                    of `policy`, which is trained and searched
    aux["reference_logits"]   of `reference`, the same module with parameters of
                              its own, without dropout

Both start from one run, as config.train.pretrained = {"policy": {...},
"reference": {...}} says, and config.optimizer freezes the second
(train.Frozen, paths "reference/.*"). Losses that learn from rewards compare the
two (objectives/logged_policy.py): the reference stands for the policy that drew
the samples.
"""

import dataclasses
from typing import Any

from flax import linen as nn
import jax
from jaxtyping import Array, Float, Int

from genrec_jax.core import seams
from genrec_jax.core.types import Batch, Outputs


class WithReference(nn.Module):
  """See the module docstring.

  Attributes:
    num_items: V; only for the trainer.
    policy: a model of codes (models/token_seq2seq.py, token_decoder.py), built
      for as many items.
  """

  num_items: int
  policy: nn.Module

  item_tables = ()

  def setup(self):
    self.reference = self.policy.copy()

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return self.policy.logical_axes

  @property
  def level_sizes(self) -> tuple[int, ...]:
    """C of each level."""
    return self.policy.level_sizes

  @property
  def max_length(self) -> int:
    """Longest history that the model tells apart."""
    return self.policy.max_length

  @property
  def uses_time(self) -> bool:
    """Whether event times change the output."""
    return self.policy.uses_time

  @property
  def shares_history(self) -> bool:
    """Whether a history that is read once may have several targets."""
    offers = seams.offers(self.policy, seams.SharedHistoryModel)
    return offers and self.policy.shares_history

  def __call__(self, batch: Batch, *, deterministic: bool) -> Outputs:
    """The policy's outputs, and the reference's logits beside them."""
    outputs = self.policy(batch, deterministic=deterministic)
    logits = self.reference(batch, deterministic=True).logits
    told = {"reference_logits": jax.lax.stop_gradient(logits)}
    assign = outputs.assign and {
      ("policy", *path): pair for path, pair in outputs.assign.items()
    }
    return dataclasses.replace(
      outputs, aux={**(outputs.aux or {}), **told}, assign=assign
    )

  def start(self, batch: Batch) -> tuple[Any, Float[Array, "B C"]]:
    """The policy's cache of the histories, and logits of the first level."""
    return self.policy.start(batch)

  def step(
    self,
    cache: Any,
    level: int,
    codes_BK: Int[Array, "B K"],
    parents_BK: Int[Array, "B K"],
  ) -> tuple[Any, Float[Array, "B K C"]]:
    """The policy's logits of a level after each beam's code."""
    return self.policy.step(cache, level, codes_BK, parents_BK)
