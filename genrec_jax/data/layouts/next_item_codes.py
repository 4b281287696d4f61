# SPDX-License-Identifier: Apache-2.0
"""Items as inputs, codes as labels: NextItem's rows with the codes of both.

    NextItem's batch,  codes_BLM            codes of each input
    target_item_BS  target_codes_BSM        S = L: of the event that follows;
                                            item 0 = no target

A history of n items is n places, whatever the number of codes, and times are
those of events and of what follows them.
"""

import dataclasses

from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.base import LayoutArtifacts
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.layouts.semantic_ids import codes_of_catalog, look_up


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextItemCodes(NextItem):
  """See the module docstring.

  Attributes:
    num_levels: M, codes of an item.
    codes: (V + 1, M), row 0 = padding; set by `bind`.
  """

  num_levels: int
  codes: Int[np.ndarray, "V1 M"] | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.groups is not None or self.weighs:
      raise ValueError(
        "layouts.NextItemCodes has no groups of events and no weights of labels"
        " (groups, action_weights, value_weight), which losses of codes do not"
        " read: take layouts.NextItem, or leave them out."
      )

  def bind(self, artifacts: LayoutArtifacts) -> "NextItemCodes":
    """NextItem's, with the codes of the data set's items."""
    codes = codes_of_catalog(artifacts, self.num_levels)
    return dataclasses.replace(super().bind(artifacts), codes=codes)

  def batch(
    self,
    rows_BLC: Int[np.ndarray, "B L C"],
    segment_ids_BL: Int[np.ndarray, "B L"],
    positions_BL: Int[np.ndarray, "B L"],
  ) -> dict[str, np.ndarray]:
    """NextItem's, and the codes of inputs and labels."""
    return self._with_codes(
      super().batch(rows_BLC, segment_ids_BL, positions_BL)
    )

  def request_batch(self, requests: Requests) -> dict[str, np.ndarray]:
    """NextItem's, and the codes of the inputs; no target."""
    return self._with_codes(super().request_batch(requests))

  def _with_codes(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    label_BL = batch["label_BL"]
    return {
      **batch,
      "codes_BLM": look_up(self.codes, batch["item_BL"], self.num_levels),
      "target_item_BS": label_BL,
      "target_codes_BSM": look_up(self.codes, label_BL, self.num_levels),
    }
