# SPDX-License-Identifier: Apache-2.0
"""How popular an item, or all items like it, was before a moment.

    recent.ATTRIBUTE.DAYS   training events of items with the same attribute in
                            [m - DAYS, m), whoever's they are; m = min(t, end)

Point in time: nothing at the moment or later counts, of no user. `end` is
behind the training part's last event: who asks later is told of its last days.
Only events of known times count. ATTRIBUTE "id" is the item. Percentiles of
these counts are what a production ranker reads in place of raw ones (arXiv
2510.14223). An item whose attribute is missing has none: NaN.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.event_index import EventIndex
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.affinity import ID, value_codes
from genrec_jax.data.features.moments import Clock, Moments

_DAY = 86_400


def recent(
  field: str,
  attributes: pl.DataFrame,
  num_items: int,
  times_E: Int[np.ndarray, "E"],
  items_E: Int[np.ndarray, "E"],
) -> Callable[..., Float[np.ndarray, "n"]]:
  """The function of a feature: (moments, clock, feedback) -> counts.

  Args:
    field: ATTRIBUTE.DAYS.
    attributes: of items 1, 2, ... in order.
    num_items: V.
    times_E: seconds since the data set's epoch, of all training events.
    items_E: their items.

  Raises:
    ValueError: no whole number of days, or an attribute that items lack.
  """
  name, _, days = field.rpartition(".")
  if not (name and days.isdigit() and int(days)):
    raise ValueError(
      f"feature recent.{field} must be recent.ATTRIBUTE.DAYS, such as"
      " recent.id.7."
    )
  if name != ID and name not in attributes.columns:
    choices = [ID, *attributes.columns]
    raise ValueError(
      f"items have no attribute {name!r}, of feature recent.{field}."
      + choices_hint(name, choices)
    )
  codes_V1 = value_codes(name, attributes, num_items)
  index = EventIndex.of(codes_V1[items_E], times_E)
  end = int(times_E.max()) + 1 if len(times_E) else 0
  window = int(days) * _DAY

  def count(moments: Moments, clock: Clock, feedback: BoundFeedback):
    del clock, feedback
    if moments.times is None:
      return np.full(len(moments.ends), np.nan)
    mine_N = codes_V1[moments.items]
    until_N = np.minimum(moments.times.astype(np.int64), end)
    low, high = (index.ends(mine_N, t) for t in (until_N - window, until_N))
    return np.where(mine_N > 0, (high - low).astype(np.float64), np.nan)

  return count
