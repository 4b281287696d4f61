# SPDX-License-Identifier: Apache-2.0
"""What is told of events and users reaches their own slots, and no others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.data.dataset import Feedback
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.features import Feature, FeatureSet, Hashed
from genrec_jax.data.features.features import FittedFeatures
from genrec_jax.data.features.moments import Clock
from genrec_jax.data.features.watch_percentiles import FittedPercentiles
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.token_targets import TokenTargets
from genrec_jax.data.layouts.told_context import ToldContext
from genrec_jax.layers.transformer import FeedForward
from genrec_jax.models import ContextSeq2Seq
from tests.models.compiled import apply

_SIZES, _V, _SEEN, _EVENTS = (5, 6), 20, 3, 8
_CODES = np.stack([np.arange(_V + 1) % 5, np.arange(_V + 1) % 6], 1).astype(
  "i4"
)
_ACTIONS = ["", "skip", "click", "like", "click|like"]
_FEATURES = FeatureSet(
  (Feature("item.tag", Hashed(7)), Feature("user.age", Hashed(4))),
  ("item.tag",),
)


_READ = (
  *("token_BL", "item_BL", "event_action_BN", "event_watched_BN"),
  *("event_features_BNG", "user_features_BNF", "profile_BN"),
)


def _told():
  rng = np.random.default_rng(0)
  feedback = Feedback(("click", "like")).bind(_ACTIONS)
  tags = rng.integers(1, 8, (_V + 1, 1)).astype(np.int32)
  ages = np.array([[0], [3], [2]], np.int32)
  tags[0] = 0
  fitted = FittedFeatures(tags, ages, (), Clock(None), feedback, {})
  q = rng.random(16).astype(np.float32)
  q[4] = np.nan
  return dataclasses.replace(
    ToldContext(_FEATURES, Feedback(("click", "like")), 5),
    features=dataclasses.replace(_FEATURES, fitted=fitted),
    percentiles=FittedPercentiles(np.array([0, 9, 16]), q, q),
    feedback=feedback,
  )


def _record(user=0, size=9):
  rng = np.random.default_rng(user)
  return {
    "user": np.array(user, np.int32),
    "item": rng.integers(1, _V, size).astype(np.int32),
    "action": rng.integers(0, 5, size).astype(np.int32),
  }


def _layout(kind=TokenTargets):
  more = {"max_events": _EVENTS} if kind is TokenTargets else {}
  return kind(
    _SEEN, _SIZES, with_items=True, codes=_CODES, told=_told(), **more
  )


def _row(layout, record, end):
  rows = layout.example(record, end)[None]
  segments = np.ones(rows.shape[:2], np.int32)
  positions = np.arange(rows.shape[1], dtype=np.int32)[None]
  return layout.batch(rows, segments, positions)


def test_slots_are_told_of_their_own_event():
  told, record = _told(), _record()
  batch = _row(_layout(), record, 9)
  assert batch["token_BL"].shape == (1, 2 * 9)
  assert batch["profile_BN"][0].tolist() == [1] + [0] * 8
  assert batch["user_features_BNF"][0, 0].tolist() == [0, 3]
  for slot in range(1, 9):
    event, item = slot - 1, record["item"][slot - 1]
    assert batch["item_BL"][0, 2 * slot] == item
    tag = told.features.fitted.items[item].tolist()
    assert batch["event_features_BNG"][0, slot].tolist() == tag
    done = _ACTIONS[record["action"][event]].split("|")
    mask = ("click" in done) + 2 * ("like" in done)
    assert batch["event_action_BN"][0, slot] == mask
    q = told.percentiles.percentile_E[event]
    bucket = 0 if np.isnan(q) else 1 + min(int(q * 5), 4)
    assert batch["event_watched_BN"][0, slot] == bucket
    # The target of a slot is the event behind it.
    assert batch["target_item_BS"][0, slot] == record["item"][event + 1]
    assert batch["target_end_BS"][0, slot] == 2 * (slot + 1)
  assert batch["target_item_BS"][0, 0] == 0


def test_a_request_is_told_what_training_is_told():
  record = _record(1, 6)
  prefixes = _layout(TokenPrefixes)
  whole = _row(prefixes, record, 6)
  for layout in (prefixes, _layout()):
    request = layout.request_batch(make_requests([(record, 5)]))
    for name in _READ:
      np.testing.assert_array_equal(request[name], whole[name], err_msg=name)
  # Of a user that nobody knows, and who has done nothing, there is a slot.
  nobody = dataclasses.replace(
    make_requests([(record, 0)]), user=np.array([-1], np.int32)
  )
  batch = prefixes.request_batch(nobody)
  assert batch["profile_BN"].tolist() == [[1, 0, 0, 0]]
  assert batch["segment_ids_BL"].sum() == 2


def _system(head_slots=1):
  backbone = LazyDecoder(
    width=8, num_layers=2, num_heads=2, head_width=4,
    ffn=FeedForward(8, 8, 0.0), target_tokens=2, head_slots=head_slots,
    recency_buckets=4, max_distance=5,
  )  # fmt: skip
  return ContextSeq2Seq(
    num_items=_V, level_sizes=_SIZES, width=8, max_length=18,
    backbone=backbone, feature_rows=_FEATURES.rows,
    history_columns=_FEATURES.history_columns, num_actions=2, watch_buckets=5,
  )  # fmt: skip


def _params(batch):
  shapes = jax.eval_shape(
    lambda: _system().init(jax.random.key(0), batch, deterministic=True)
  )
  rng = np.random.default_rng(3)
  return jax.tree.map(
    lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
  )


def test_a_target_sees_its_user_and_what_is_told_of_its_own_window():
  layout = _layout()
  layout.check_system(_system())
  batch = {n: jnp.asarray(x) for n, x in _row(layout, _record(), 9).items()}
  params = _params(batch)
  whole = apply(_system(), params, batch, deterministic=True).logits
  for name, change in (
    ("event_action_BN", lambda x: 3 - x),
    ("event_watched_BN", lambda x: (x + 2) % 6),
    ("event_features_BNG", lambda x: x % 7 + 1),
  ):
    old = batch[name]
    moved = {**batch, name: old.at[:, 5].set(change(old[:, 5]))}
    found = apply(_system(), params, moved, deterministic=True).logits
    differs = np.abs(np.asarray(found - whole)).max(axis=(0, 2, 3)) > 1e-6
    # Of three events that a target sees, this is the last, second and first.
    assert np.flatnonzero(differs).tolist() == [5, 6, 7], name
  moved = {**batch, "user_features_BNF": batch["user_features_BNF"] + 1}
  found = apply(_system(), params, moved, deterministic=True).logits
  differs = np.abs(np.asarray(found - whole)).max(axis=(0, 2, 3)) > 1e-6
  there = np.asarray(batch["target_item_BS"][0]) > 0
  np.testing.assert_array_equal(differs[1:], there[1:])


def test_a_search_reads_what_training_reads():
  layout, record = _layout(), _record()
  batch = {n: jnp.asarray(x) for n, x in _row(layout, record, 9).items()}
  params = _params(batch)
  whole = apply(_system(), params, batch, deterministic=True).logits
  requests = make_requests([(record, 3), (record, 8)])
  asked = layout.request_batch(requests)
  asked = {name: jnp.asarray(x) for name, x in asked.items()}
  _, first = apply(_system(), params, asked, method="start")
  # Of the second more was before than it sees.
  for row, slot in ((0, 3), (1, 8)):
    np.testing.assert_allclose(first[row], whole[0, slot, 0, :5], atol=2e-5)


def test_what_does_not_fit_names_itself():
  layout = _layout()
  with pytest.raises(ValueError, match="num_actions=3, and .* has 2"):
    layout.check_system(_system().clone(num_actions=3))
  with pytest.raises(ValueError, match="told needs with_items=True"):
    TokenPrefixes(_SEEN, _SIZES, told=_told())
  moment = FeatureSet((Feature("context.hour", Hashed(24)),))
  with pytest.raises(ValueError, match="'context.hour', of a moment"):
    ToldContext(moment, Feedback(("click",)))
