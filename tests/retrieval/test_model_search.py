# SPDX-License-Identifier: Apache-2.0
"""A fake query function shows what a batch holds and that sizes are fixed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.model_search import ModelSearch

_ITEMS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def _requests(count: int) -> Requests:
  return Requests(
    user=np.arange(count, dtype=np.int32),
    target=np.zeros(count, np.int32),
    history=[{"item": np.array([u + 1], np.int32)} for u in range(count)],
    query_time=np.zeros(count, np.int32),
    event=np.ones(count, np.int32),
  )


def _model(traces: list) -> ModelSearch:
  def request_batch(requests):
    return {"item_BL": np.stack([h["item"] for h in requests.history])}

  @jax.jit
  def query_fn(batch):
    traces.append(batch["item_BL"].shape)
    return jnp.asarray(_ITEMS)[batch["item_BL"][:, -1]]

  return ModelSearch(query_fn, request_batch, BruteForce.build(_ITEMS), 5)


def test_small_batches_equal_one_row_at_a_time_and_compile_once():
  traces = []
  model = _model(traces)
  allowed = np.random.default_rng(1).random((5, 12)) < 0.7
  expected = np.argsort(
    np.where(allowed[:, 1:], _ITEMS[1:6] @ _ITEMS[1:].T, -np.inf) * -1.0,
    axis=1,
    kind="stable",
  )[:, :3]
  for count in (5, 2, 1):
    ids, scores, _ = model(_requests(count), 3, ItemMask.of(allowed[:count]))
    assert ids.shape == scores.shape == (count, 3)
    np.testing.assert_array_equal(ids, expected[:count] + 1)
  assert traces == [(5, 1)]


@pytest.mark.parametrize("count", [0, 6])
def test_sizes_beyond_the_batch_are_refused(count):
  with pytest.raises(ValueError, match=f"{count} requests"):
    _model([])(_requests(count), 3)


def test_queries_that_are_no_numbers_are_refused():
  model = _model([])

  def broken(value):
    rows = {"query_fn": lambda batch: model.query_fn(batch).at[1].set(value)}
    return dataclasses.replace(model, **rows)

  for value in (np.nan, np.inf, -np.inf):
    with pytest.raises(
      ValueError, match="the queries .*not finite.*--checkpoi"
    ):
      broken(value)(_requests(2), 3)
  broken(1.0)(_requests(2), 3)
  with pytest.raises(ValueError, match="the scores .*not finite"):
    broken(3e38)(_requests(2), 12)
