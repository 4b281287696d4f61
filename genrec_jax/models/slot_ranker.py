# SPDX-License-Identifier: Apache-2.0
"""What the user will do with an item, and how much of it is the slot's.

    z_i = head([LN(backbone(x)_i), features]) + O[slot_i]

The ranker of models/action_ranker.py with a learned offset per slot and task:
an item at the top is clicked for being there. Slots are those of the log in
training and one and the same for all candidates of a request
(data/layouts/shown_together.py), so that no offset changes their order: it
takes from training what is not the item's (arXiv 2602.12354, which scores as
in slot 5). Offsets are 0 at start; that of slot 0 belongs to no item.
"""

from flax import linen as nn
import jax.numpy as jnp

from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.types import Batch
from genrec_jax.models.action_ranker import ActionRanker


class SlotRanker(ActionRanker):
  """See the module docstring.

  Attributes:
    num_slots: slots with an offset of their own; later ones share the last.
  """

  num_slots: int = 60

  def __post_init__(self):
    super().__post_init__()
    check_counts(self, "config.system", "num_slots")

  def setup(self):
    super().setup()
    self.slot_offsets = nn.Embed(
      self.num_slots + 1,
      self.heads.num_tasks,
      embedding_init=nn.initializers.zeros,
    )

  @property
  def logical_axes(self) -> dict[str, tuple[str | None, ...]]:
    """Names of the parameters' dimensions (core/sharding.py)."""
    return {"slot_offsets/embedding": (None, None), **super().logical_axes}

  def _logits(self, h_BLD, batch: Batch, deterministic: bool):
    if "slot_BL" not in batch:
      raise ValueError(
        "models.SlotRanker reads slots, and the layout tells none: set"
        " config.pipeline.layout.num_slots, or take models.ActionRanker."
      )
    logits_BLT = super()._logits(h_BLD, batch, deterministic)
    slot_BL = jnp.minimum(batch["slot_BL"], self.num_slots)
    return logits_BLT + self.slot_offsets(slot_BL)
