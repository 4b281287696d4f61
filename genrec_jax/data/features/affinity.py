# SPDX-License-Identifier: Apache-2.0
"""How often a user met items like the one that is asked about.

    affinity.ATTRIBUTE        earlier events of items with the same attribute
    affinity.ATTRIBUTE.TASK   those of them on which the task was done

A viewer's affinity to an author, as production rankers count it (arXiv
2602.12354): point in time, over the events that were over when the request was
made, and over nothing of the request itself. ATTRIBUTE "id" is the item. An
item whose attribute is missing (null, NaN, empty) has no affinity: NaN. A list
of values, such as a movie's genres, is compared as one value, order and all.
"""

from collections.abc import Callable

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.feedback import BoundFeedback
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.prepare.attributes import scalars

ID = "id"


def affinity(
  field: str, attributes: pl.DataFrame, num_items: int, feedback: BoundFeedback
) -> Callable[..., Float[np.ndarray, "n"]]:
  """The function of a feature: (moments, clock, feedback) -> counts.

  Args:
    field: ATTRIBUTE or ATTRIBUTE.TASK.
    attributes: of items 1, 2, ... in order.
    num_items: V.
    feedback: names the tasks.

  Raises:
    ValueError: an attribute that items do not have, or an unknown task.
  """
  name, task = field, None
  if field != ID and field not in attributes.columns:
    name, _, wanted = field.rpartition(".")
    if name != ID and name not in attributes.columns:
      choices = [ID, *attributes.columns]
      wrong = name or field
      raise ValueError(
        f"items have no attribute {wrong!r}, of feature affinity.{field}."
        + choices_hint(wrong, choices)
      )
    if wanted not in feedback.tasks:
      raise ValueError(
        f"there is no task {wanted!r}, of feature affinity.{field}."
        + choices_hint(wanted, feedback.tasks)
      )
    task = feedback.tasks.index(wanted)
  codes_V1 = value_codes(name, attributes, num_items)

  def count(moments: Moments, clock: Clock, feedback: BoundFeedback):
    del clock
    theirs_L = codes_V1[moments.record["item"]]
    mine_N = codes_V1[moments.items]
    over_NL = np.arange(len(theirs_L))[None, :] < moments.ends[:, None]
    same_NL = over_NL & (theirs_L[None, :] == mine_N[:, None])
    if task is not None:
      same_NL &= (feedback.done(moments.record) >> task & 1 > 0)[None, :]
    return np.where(mine_N > 0, same_NL.sum(axis=1), np.nan)

  return count


def value_codes(
  name: str, attributes: pl.DataFrame, num_items: int
) -> Int[np.ndarray, "V1"]:
  """Equal numbers for equal values; 0 for padding and for missing ones."""
  if name == ID:
    return np.arange(num_items + 1)
  column = scalars(attributes[name])
  if column.dtype == pl.String:
    column = column.replace("", None)
  ranks = column.rank("dense").fill_null(0).to_numpy()
  return np.concatenate([[0], ranks]).astype(np.int64)
