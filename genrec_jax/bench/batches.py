# SPDX-License-Identifier: Apache-2.0
"""Batches of random events in a config's own shapes, without data.

    next item   every row one user with as many events as are asked for
    others      what the input pipeline packs of simulated users of that many
                events: codes of histories or of their prefixes, requests with
                their candidates

and requests of one user and many candidates, as serving has them. Codes are
drawn with a skew (bench/decoding.py), features of items, users and moments
evenly from the rows of each table.
"""

import dataclasses
from typing import Any

import numpy as np

from genrec_jax.bench.decoding import skewed_codes
from genrec_jax.bench.pipeline import EPOCH_SECONDS, SimulatedHistories
from genrec_jax.data.action_text import SKIP
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.layouts.pointwise import PointwiseRows
from genrec_jax.data.layouts.ranking import RequestLayout
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.ranking.candidates import asked_about

# Users per row of a batch, so that packing finds examples of many lengths.
_USERS_PER_ROW = 4
# What a code is does not change what a step costs.
_FEW_CODES = 2


def full_batch(
  pipeline: PipelineOptions, events: int, num_items: int
) -> dict[str, np.ndarray]:
  """A training batch on the host.

  Args:
    pipeline: shapes and layout of the batch.
    events: of every user.
    num_items: V.

  Raises:
    ValueError: a layout that no batch is made for here.
  """
  layout = pipeline.layout
  if isinstance(layout, NextItem):
    return _next_item(pipeline, events, num_items)
  if isinstance(layout, TokenPrefixes):
    codes = skewed_codes(num_items, layout.level_sizes)
    layout = dataclasses.replace(layout, codes=codes)
    return _packed(pipeline, layout, events, num_items, num_actions=0)
  if isinstance(layout, TokenHistory):
    return _packed(
      pipeline, drawn_codes(layout, num_items), events, num_items, num_actions=0
    )
  if isinstance(layout, RequestLayout):
    return _requests(pipeline, layout, events, num_items)
  raise ValueError(
    f"there are no random batches for the layout {type(layout).__name__}: take"
    " a config whose layout is NextItem, TokenPrefixes, TokenHistory or one of"
    " requests."
  )


def drawn_codes(layout: TokenHistory, num_items: int) -> TokenHistory:
  """The layout with random codes, all below what any level has."""
  rng = np.random.default_rng(0)
  shape = (num_items + 1, layout.num_levels)
  codes = rng.integers(0, _FEW_CODES, shape, np.int32)
  codes[0] = 0
  return dataclasses.replace(layout, codes=codes)


def _next_item(
  pipeline: PipelineOptions, events: int, num_items: int
) -> dict[str, np.ndarray]:
  """Every row one user with `events` events and as many labels."""
  rng = np.random.default_rng(0)
  layout, length = pipeline.layout, pipeline.row_length
  shape = (pipeline.batch_size, length)
  valid = np.broadcast_to(np.arange(length)[None, :] < events, shape)
  columns = np.zeros((*shape, layout.num_columns), np.int32)
  longer = (pipeline.batch_size, length + 1)
  items = rng.integers(1, num_items + 1, longer, np.int32)
  times = np.sort(rng.integers(0, EPOCH_SECONDS, longer), axis=1)
  columns[..., 0] = items[:, :-1]
  columns[..., 1] = items[:, 1:]
  columns[..., 2] = times[:, :-1]
  columns[..., 3] = times[:, 1:]
  columns[~valid] = 0
  positions = np.where(valid, np.arange(length)[None, :], 0)
  return layout.batch(columns, valid.astype(np.int32), positions)


def _packed(
  pipeline: PipelineOptions,
  layout: Any,
  events: int,
  num_items: int,
  num_actions: int,
) -> dict[str, np.ndarray]:
  """The first batch of the input pipeline on simulated users."""
  users = _USERS_PER_ROW * pipeline.batch_size
  histories = SimulatedHistories(users, events, num_items, num_actions)
  stream = training_batches(
    layout.source(histories),
    layout,
    batch_size=pipeline.batch_size,
    row_length=pipeline.row_length,
    seed=0,
  )
  batch = next(stream)
  stream.close()
  return batch


def served_batch(
  layout: RequestLayout | PointwiseRows,
  events: int,
  candidates: int,
  num_items: int,
) -> dict[str, np.ndarray]:
  """A request of one user with a whole history, for `score`.

  Args:
    layout: of requests or of rows of features; history of `events` at least.
    events: of the user.
    candidates: N, drawn evenly.
    num_items: V.
  """
  if isinstance(layout, RequestLayout):
    layout = _bound(layout)[0]
  rng = np.random.default_rng(0)
  record = SimulatedHistories(1, events, num_items, num_actions=3)[0]
  items = rng.integers(1, num_items + 1, candidates, np.int32)
  request = asked_about(record, items, EPOCH_SECONDS, num_items)
  return _drawn(layout.impression_batch(request), layout, num_items)


def _bound(layout: RequestLayout) -> tuple[RequestLayout, int]:
  """The layout with actions of its own, and how many they are."""
  shown = layout.shown or layout.feedback
  actions = ("", SKIP, *dict.fromkeys((*layout.feedback.tasks, *shown.tasks)))
  bound = dataclasses.replace(
    layout,
    bound_feedback=layout.feedback.bind(actions),
    bound_shown=shown.bind(actions),
  )
  return bound, len(actions)


def _drawn(batch, layout: RequestLayout | PointwiseRows, num_items: int):
  """The batch with features, and events of rows of features, at random.

  Unbound they are all row 0, where a table's gradient would pile up, and a
  pointwise layout shows no event.
  """
  requests = isinstance(layout, RequestLayout)
  told = layout.features if requests else layout.feature_set
  if told is None:
    return batch
  rng = np.random.default_rng(0)
  rows = np.array(told.rows, np.int32)
  history = rows[list(told.history_columns)]
  drawn = {"features_BLF": rows}
  drawn["item_features_BLG" if requests else "history_features_BLHG"] = history
  if not requests:
    drawn["history_action_BLH"] = 2**layout.num_actions
    drawn["history_seconds_BLH"] = EPOCH_SECONDS
  batch = dict(batch)
  for name, sizes in drawn.items():
    if name in batch:
      batch[name] = rng.integers(0, sizes, batch[name].shape, np.int32)
  if not requests:
    shape = batch["history_item_BLH"].shape
    batch["history_item_BLH"] = rng.integers(1, num_items + 1, shape, np.int32)
  return batch


def _requests(
  pipeline: PipelineOptions, layout: RequestLayout, events: int, num_items: int
) -> dict[str, np.ndarray]:
  """Requests of users who did something with every item, at random."""
  layout, num_actions = _bound(layout)
  batch = _packed(pipeline, layout, events, num_items, num_actions)
  return _drawn(batch, layout, num_items)
