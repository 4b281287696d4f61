# SPDX-License-Identifier: Apache-2.0
"""A ranker told of slots: kept histories, what is seen, offsets alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.pre_norm_decoder import PreNormDecoder
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.layouts.request_columns import PLACE
from genrec_jax.data.layouts.shown_together import ShownTogether
from genrec_jax.layers.attention import SoftmaxAttention
from genrec_jax.layers.cross_head import CrossHead
from genrec_jax.layers.rotary_positions import RotaryPositions
from genrec_jax.models.slot_ranker import SlotRanker
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from tests.data.layouts.requests_by_hand import (
  FEATURES,
  FEEDBACK,
  NUM_ITEMS,
  OneUser,
  bound,
  user_record,
)
from tests.models.compiled import apply

_SLOTS, _ASKED = 4, 3
_LAYOUT = ShownTogether(
  FEEDBACK, 8, 2, last_requests=1, history_loss=True, features=FEATURES,
  siblings="logged", num_slots=_SLOTS, asked_slot=_ASKED,
)  # fmt: skip


def _packed(layout, record=None):
  """The last training request of the record in a row of its own."""
  source = layout.source(OneUser(record))
  found = source[len(source) - 1]
  rows = layout.example(found, source.split.train_end(found))
  segments = np.zeros((1, 24), np.int32)
  segments[0, : len(rows)] = 1
  padded = np.pad(rows, ((0, 24 - len(rows)), (0, 0)))[None]
  return rows, layout.batch(padded, segments, segments)


@pytest.fixture(scope="module")
def model():
  """A ranker of all parts, and parameters far from their first values."""
  system = SlotRanker(
    num_items=NUM_ITEMS,
    width=8,
    backbone=PreNormDecoder(
      num_layers=2,
      num_heads=2,
      key_width=4,
      value_width=4,
      ffn_width=8,
      attention=SoftmaxAttention(),
      rotary=RotaryPositions(30.0),
      residual_scalars=(1.0, 1.0),
    ),
    heads=CrossHead(2, num_layers=2, widths=(6,)),
    num_actions=2,
    feature_rows=FEATURES.rows,
    history_columns=FEATURES.history_columns,
    feature_width=3,
    num_slots=_SLOTS,
  )
  layout = bound(_LAYOUT)
  layout.check_system(system)
  _, batch = _packed(layout)
  shapes = jax.eval_shape(
    lambda b: system.init(jax.random.key(0), b, deterministic=True), batch
  )
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32), shapes
  )
  return system, params["params"], layout


def test_a_kept_history_gives_the_scores_of_whole_rows(model):
  """For any batch of candidates, and for each of them alone."""
  system, params, layout = model
  assert system.caches_history and not system.uses_time
  record = user_record()
  scorer = CandidateScorer.of(system, params, layout, micro_batch=3)
  scores = {}
  for candidates in ([9, 3, 12, 9, 1], [1], [3, 11, 10, 12]):
    request = asked_about(record, np.array(candidates, np.int32), 55, NUM_ITEMS)
    batch = layout.impression_batch(request)
    whole = apply(system, {"params": params}, batch, method="score")
    expected = 1 / (1 + np.exp(-np.asarray(whole)[0]))
    found = scorer.score(request)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for item, score in zip(candidates, found, strict=True):
      # Whoever else is asked about, and in whichever place.
      np.testing.assert_allclose(scores.setdefault(item, score), score,
                                 atol=1e-5)  # fmt: skip
  assert np.ptp(np.array([*scores.values()])[:, 0]) > 0.01


def _logits(model, layout=None, record=None):
  """By item, of all that has a loss."""
  system, params, own = model
  rows, batch = _packed(own if layout is None else layout, record)
  found = apply(system, {"params": params}, batch, deterministic=True).logits
  asked = np.flatnonzero(rows[:, PLACE["labelled"]])
  items = rows[asked, PLACE["item"]].tolist()
  return dict(zip(items, np.asarray(found)[0, asked], strict=True))


def test_a_slot_adds_its_offset_and_nothing_else(model):
  system, params, layout = model
  offset = np.asarray(params["slot_offsets"]["embedding"])
  told = _logits(model)
  # Of the same tokens, if all had been shown in the slot that is asked about.
  rows, batch = _packed(layout)
  here = {**batch, "slot_BL": np.where(batch["slot_BL"] > 0, _ASKED, 0)}
  found = apply(system, {"params": params}, here, deterministic=True).logits
  labelled = rows[:, PLACE["labelled"]] > 0
  for i in np.flatnonzero(labelled):
    slot = rows[i, PLACE["slot"]]
    np.testing.assert_allclose(
      told[rows[i, PLACE["item"]]] - np.asarray(found)[0, i],
      offset[slot] - offset[_ASKED],
      atol=1e-5,
    )
  assert len({*rows[labelled, PLACE["slot"]].tolist()}) == 2
  # So said of a candidate, which has no siblings: item 4 has one in training.
  (asked,) = iter_impressions(OneUser(), "train", FEEDBACK, 9, 2)
  asked_batch = layout.impression_batch(asked)
  score = apply(system, {"params": params}, asked_batch, method="score")
  for row, n in zip(*np.nonzero(asked.candidates), strict=True):
    item = asked.candidates[row, n]
    i = np.flatnonzero(labelled & (rows[:, PLACE["item"]] == item))[0]
    same = np.allclose(score[row, n], found[0, i], atol=1e-5)
    assert same == (item != 4)


def test_what_came_of_an_item_is_told_to_no_item_before_it(model):
  """Nor to itself; where siblings are hidden, to none of its request."""
  hidden = dataclasses.replace(model[2], siblings="hidden")
  # Event 2 has item 3, event 3 item 4 of the same request.
  other = user_record()
  other["action"][2] = 3
  for layout, first in ((model[2], 4), (hidden, 5)):
    base, changed = (_logits(model, layout, r) for r in (None, other))
    moved = [i for i in base if np.any(base[i] != changed[i])]
    assert sorted(moved) == [*range(first, 7)]


def test_a_layout_without_slots_is_an_error(model):
  system, params, layout = model
  plain = dataclasses.replace(layout, num_slots=0)
  with pytest.raises(ValueError, match="set config.pipeline.layout.num_slots"):
    _logits((system, params, layout), plain)
  with pytest.raises(ValueError, match="num_slots=0 must be at least 1"):
    system.clone(num_slots=0)
