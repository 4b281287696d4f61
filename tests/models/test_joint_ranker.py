# SPDX-License-Identifier: Apache-2.0
"""Queries of a ranker see no target, and are those of serving."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import SequenceInfo
from genrec_jax.data.dataset.requests import Requests, cut
from genrec_jax.data.layouts.joint import (
  JointActionOriented,
  JointInterleaved,
)
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.models.joint_ranker import JointRanker
from tests.data.layouts.requests_by_hand import (
  FEEDBACK,
  NUM_ITEMS,
  OneUser,
  bound,
  user_record,
)
from tests.models.compiled import apply
from tests.models.test_action_ranker import _backbone, _packed

_OPTIONS = {"history_loss": True, "last_requests": 1}
_LAYOUTS = {
  "interleaved": bound(JointInterleaved(FEEDBACK, 6, 2, **_OPTIONS)),
  "action_oriented": bound(JointActionOriented(FEEDBACK, 6, 2, **_OPTIONS)),
}


def _example(layout):
  source = layout.source(OneUser())
  record = source[0]
  return layout.example(record, source.split.train_end(record))


@pytest.fixture(scope="module")
def model():
  """A system, and parameters far from their small initial values."""
  system = JointRanker(
    num_items=NUM_ITEMS,
    width=8,
    backbone=_backbone(),
    heads=LinearHead(num_tasks=2),
    num_actions=2,
    unknown_action=True,
    num_positions=40,
    num_requests=5,
    num_gaps=20,
  )
  layout = _LAYOUTS["interleaved"]
  batch = _packed(layout, [_example(layout)])
  shapes = jax.eval_shape(
    lambda b: system.init(jax.random.key(0), b, deterministic=True), batch
  )
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32), shapes
  )
  return system, params["params"]


@functools.partial(jax.jit, static_argnums=0)
def _influence(system, params, batch, x_BLD):
  """Whether the query of position i depends on the vector of position j."""

  def sums(x):
    def run(m):
      return m.backbone(x, SequenceInfo.from_batch(batch), deterministic=True)

    hidden_BLD = system.apply({"params": params}, method=run)
    return jnp.sum(jnp.sin(hidden_BLD), axis=2)[0]

  return jnp.any(jax.jacrev(sums)(x_BLD)[:, 0] != 0, axis=-1)


@pytest.mark.slow
@pytest.mark.parametrize("name", _LAYOUTS)
def test_a_query_depends_on_its_event_and_those_before(model, name):
  """By gradient, of every query that has a label to every token's vector."""
  system, params = model
  layout = _LAYOUTS[name]
  rows = _example(layout)
  batch = _packed(layout, [rows])
  x_BLD = jax.random.normal(jax.random.key(2), (*batch["item_BL"].shape, 8))
  found = np.asarray(_influence(system, params, batch, x_BLD))
  asking = np.flatnonzero(rows[:, PLACE["next_item"]])
  assert len(asking) == 5
  for n, place in enumerate(asking):
    seen = np.flatnonzero(found[place])
    # All events up to its own, and the one it is asked for is the next.
    expected = np.arange(layout.tokens_per_event * (n + 1))
    np.testing.assert_array_equal(seen, expected)
    assert rows[place, PLACE["next_item"]] == user_record()["item"][n + 1]
    assert rows[place, PLACE["next_item"]] not in rows[seen, PLACE["item"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", _LAYOUTS)
def test_serving_asks_what_training_did(model, name):
  """One row a cut history == the same place of the whole example, packed."""
  system, params = model
  layout = _LAYOUTS[name]
  rows = _example(layout)
  batch = _packed(layout, [rows, rows])
  outputs = apply(system, {"params": params}, batch, deterministic=True)
  asking = np.flatnonzero(rows[:, PLACE["next_item"]])
  record = user_record()
  count = len(asking)
  requests = Requests(
    user=np.zeros(count, np.int32),
    target=np.zeros(count, np.int32),
    history=[cut(record, n + 1) for n in range(count)],
    query_time=rows[asking, PLACE["query_time"]],
    event=np.arange(1, count + 1),
  )
  asked = layout.request_batch(requests)
  served = apply(system, {"params": params}, asked, method="query")
  trained = outputs.query[0, len(rows) + asking]
  np.testing.assert_allclose(served, trained, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(served, axis=1), 1, rtol=1e-5)
  assert np.ptp(np.asarray(served), axis=0).min() > 1e-2


@pytest.mark.slow
def test_padding_asks_nothing_and_the_ranking_is_that_of_a_ranker(model):
  system, params = model
  layout = _LAYOUTS["interleaved"]
  batch = _packed(layout, [_example(layout)])

  @jax.jit
  def both(batch):
    def plain(m, b):
      return super(JointRanker, m).__call__(b, deterministic=True)

    variables = {"params": params}
    return (
      system.apply(variables, batch, deterministic=True),
      system.apply(variables, batch, method=plain),
      system.apply(variables, method="items"),
    )

  outputs, alone, items = both(batch)
  pad = batch["segment_ids_BL"] == 0
  assert pad.any() and not np.asarray(outputs.query)[pad].any()
  np.testing.assert_array_equal(outputs.logits, alone.logits)
  np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-5)
