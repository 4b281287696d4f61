# SPDX-License-Identifier: Apache-2.0
"""What layouts share: Record -> Example, packed rows -> Batch.

A layout says what an example is made of; the pipeline packs examples into rows
and has the layout name their columns (core/seams.py: Layout).
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
import numpy as np

from genrec_jax.core.seams import Model
from genrec_jax.core.suggest import choices_hint
from genrec_jax.core.types import ItemData
from genrec_jax.data import times
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.dataset.retriever_lists import RetrieverLists
from genrec_jax.data.dataset.user_vectors import UserVectors


@runtime_checkable
class LayoutArtifacts(Protocol):
  """What a layout may read of a run's data set and of what was made of it.

  Attributes:
    histories: the prepared data set.
    directories: where each kind of artifact lies, for messages.
  """

  histories: HistorySource
  directories: Mapping[str, pathlib.Path]

  @property
  def catalog(self) -> Catalog:
    """The items that indices mean."""

  def vectors(self) -> Float[np.ndarray, "V1 D"]:
    """Vectors by item index; ValueError where there are none."""

  def collaborative(
    self,
  ) -> tuple[Float[np.ndarray, "V1 E"], Bool[np.ndarray, "V1"]]:
    """Vectors of config.collaborative by item index, and which are known."""

  def text_tokens(self) -> tuple[Any, Any]:
    """Tokens of texts by item index, and vectors by token; likewise."""

  def codes(self) -> Int[np.ndarray, "V1 M"]:
    """Codes by item index; ValueError likewise."""

  def retriever_lists(self) -> RetrieverLists:
    """What other retrievers returned at each request; likewise."""

  def user_vectors(self) -> UserVectors:
    """What a trained model says of users; likewise."""


ITEM_CONTENTS = ("vectors", "text_tokens")


def seconds_of(date: str, option: str, epoch_seconds: int | None) -> int:
  """A date as seconds since a data set's epoch.

  Args:
    date: ISO text, UTC where it names no zone.
    option: of the layout, for errors.
    epoch_seconds: of the data set.

  Raises:
    ValueError: it is no date, or the data set has no times.
  """
  where = f"config.pipeline.layout.{option}"
  seconds = times.unix_seconds(date, where)
  if epoch_seconds is None:
    raise ValueError(
      f"{where}={date!r}, and the data set has no times: map a timestamp"
      " column, or leave it out."
    )
  return seconds - epoch_seconds


def check_item_content(item_content: str) -> None:
  """Raises a ValueError where it is none of ITEM_CONTENTS."""
  if item_content not in ITEM_CONTENTS:
    raise ValueError(
      f"config.pipeline.layout.item_content={item_content!r} is unknown."
      + choices_hint(item_content, ITEM_CONTENTS)
    )


def item_data(
  artifacts: LayoutArtifacts, item_content: str
) -> Callable[[], ItemData]:
  """Gives what is known of the items; read only where a model asks for it."""

  def read():
    count = artifacts.catalog.count
    if item_content == "vectors":
      return ItemData(artifacts.vectors(), count)
    tokens, words = artifacts.text_tokens()
    return ItemData(tokens, count, words)

  return read


class BaseLayout:
  """What layouts share; a subclass has num_columns, max_length, example, batch.

  To be asked, it has request_batch(requests), or num_candidates and
  impression_batch(impressions), which gives a system's `score` its candidates
  (data/dataset/impressions.py), one row per request.
  A layout that needs more than histories, such as the codes of items, gets it
  by `bind`; unbound it still makes batches of the right shapes.

  Attributes:
    max_segments: examples that share a row at most; None = as many as fit.
  """

  max_segments: int | None = None

  def bind(self, artifacts: LayoutArtifacts) -> "BaseLayout":
    """The same layout with what it needs of the run's artifacts."""
    return self

  def check_system(self, system: Model) -> None:
    """Raises a ValueError where a system does not fit; here, anything does."""

  def shortened(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A batch of requests in rows as short as its histories; here: as it is.

    A model must answer the same, whichever of the two it gets.
    """
    return batch

  def apart(
    self, batch: Mapping[str, np.ndarray]
  ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Histories, and the candidates behind them, of an impression_batch.

    Here, candidates are the last positions of its rows, as many as
    candidate_BN has.
    """
    rows = {k: v for k, v in batch.items() if k != "candidate_BN"}
    before = rows["item_BL"].shape[1] - batch["candidate_BN"].shape[1]
    history = {k: v[:, :before] for k, v in rows.items()}
    return history, {k: v[:, before:] for k, v in rows.items()}

  def names(self, users: Users, catalog: Catalog) -> list[str]:
    """What the numbers of a batch's user_BL are called, in messages."""
    return users.ids

  def source(self, histories: HistorySource) -> HistorySource:
    """The records that examples are made of: by default, users."""
    return histories


def named_columns(
  rows_BLC: Int[np.ndarray, "B L C"],
  segment_ids_BL: Int[np.ndarray, "B L"],
  names: Sequence[str],
) -> dict[str, np.ndarray]:
  """The first columns of packed rows as NAME_BL, and segment_ids_BL; int32."""
  batch = {
    f"{name}_BL": np.ascontiguousarray(rows_BLC[:, :, place])
    for place, name in enumerate(names)
  }
  batch["segment_ids_BL"] = segment_ids_BL.astype(np.int32)
  return batch
