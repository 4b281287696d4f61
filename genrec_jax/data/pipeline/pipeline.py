# SPDX-License-Identifier: Apache-2.0
"""Histories -> batches: shard, shuffle, lay out, pack, batch, prefetch.

Grain's Dataset API does the work. Each reader has its own share of the
users, shuffled anew every epoch; several users are packed into one row (first
fit over the rows of a batch) and told apart by segment ids; the iterator's
state is a small dict, so a restored run sees the very batches that an
uninterrupted one would have seen. What a layout draws at random depends on the
seed, the user's place in the order of an epoch, and the epoch.
"""

import functools

import grain
from jaxtyping import Int
import numpy as np

from genrec_jax.data.dataset.histories import HistorySource
from genrec_jax.data.layouts.base import BaseLayout
from genrec_jax.data.schema import Record

_ROWS = "rows"
# Batches made ahead of the training step, by one thread.
_PREFETCH = 4


def _example(
  record: Record,
  rng: np.random.Generator | None = None,
  *,
  layout: BaseLayout,
  split,
) -> dict[str, Int[np.ndarray, "n C"]]:
  return {_ROWS: layout.example(record, split.train_end(record), rng)}


def _has_rows(example: dict[str, np.ndarray]) -> bool:
  return len(example[_ROWS]) > 0


def _name_columns(
  packed: dict[str, np.ndarray], *, layout: BaseLayout
) -> dict[str, np.ndarray]:
  return layout.batch(
    packed[_ROWS],
    packed[f"{_ROWS}_segment_ids"],
    packed[f"{_ROWS}_positions"],
  )


def _check(
  layout: BaseLayout, batch_size: int, row_length: int, readers: int
) -> None:
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
  if batch_size % readers:
    raise ValueError(
      f"batch_size={batch_size} must be a multiple of the {readers} readers."
    )
  if row_length < layout.max_length:
    raise ValueError(
      f"row_length={row_length} is shorter than max_length="
      f"{layout.max_length}; a user's events must fit one row."
    )


def training_batches(
  histories: HistorySource,
  layout: BaseLayout,
  *,
  batch_size: int,
  row_length: int,
  seed: int,
  reader: int = 0,
  readers: int = 1,
) -> grain.DatasetIterator:
  """An endless iterator over one reader's part of every training batch.

  Args:
    histories: a prepared data set; only events before `train_end` are read.
    layout: makes examples of records, at most row_length rows each.
    batch_size: rows of the global batch; this reader yields its share.
    row_length: tokens of a row.
    seed: of the order of users.
    reader: its number among `readers`.
    readers: that share users and batch (data/pipeline/readers.py).

  Raises:
    ValueError: a batch that readers cannot share evenly, a row shorter than
      an example, or a data set without a training example.
  """
  _check(layout, batch_size, row_length, readers)
  make = functools.partial(_example, layout=layout, split=histories.split)
  users = range(reader, len(histories), readers)
  if not any(_has_rows(make(histories[user])) for user in users):
    raise ValueError(
      "no user has two events in the training part, of which the second is a"
      " label: there is nothing to train on. Lower the filters or change the"
      " split, or what a label is (config.pipeline.layout)."
    )
  rows = batch_size // readers
  dataset = (
    grain.MapDataset.source(histories)
    .seed(seed)
    .slice(slice(reader, None, readers))
    .shuffle()
    .repeat()
    .random_map(make)
    .filter(_has_rows)
    .to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=64))
  )
  packed = grain.experimental.FirstFitPackIterDataset(
    dataset,
    length_struct={_ROWS: row_length},
    num_packing_bins=rows,
    seed=seed,
    shuffle_bins=False,
    max_sequences_per_bin=layout.max_segments,
  )
  named = packed.batch(rows, drop_remainder=True).map(
    functools.partial(_name_columns, layout=layout)
  )
  return iter(
    grain.experimental.ThreadPrefetchIterDataset(
      named, prefetch_buffer_size=_PREFETCH
    )
  )
