# SPDX-License-Identifier: Apache-2.0
"""A history that is read once: scores are those of training, for any batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones import CrossCausal, MergedHistory
from genrec_jax.layers.event_merge import EventMerge
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.interactions import Concat
from genrec_jax.models.long_history_ranker import LongHistoryRanker
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from tests.models.compiled import apply

# Features: of the item, of the user, of the item, of the moment.
_ROWS = (7, 5, 4, 6)
_HISTORY, _REQUEST = (0, 2), (1, 3)
_B, _N, _H = 3, 6, 10
_COUNTS = (10, 5, 0)


@functools.cache
def _system(**options):
  merge = {"size": 3, "width": 4, "num_positions": 20, "inner_layers": 1}
  merge |= {"align": "newest"}
  stack = {"num_heads": 2, "num_recent": 2}
  own, whole = {"alone": False}, {}
  for name, value in options.items():
    place = next((p for p in (merge, stack, own) if name in p), whole)
    place[name] = value
  return LongHistoryRanker(
    num_items=9,
    num_tasks=2,
    num_actions=2,
    feature_rows=_ROWS,
    history_columns=_HISTORY,
    width=4,
    pooling=MergedHistory(
      EventMerge(**merge), CrossCausal(width=12, **stack), **whole
    ),
    interactions=Concat(),
    tower_widths=(16,),
    embedding_init_std=0.5,
    request_columns=_REQUEST,
    history_seconds="request",
    **own,
  )


def _batch(seed=0, length=_H, once=True):
  """Rows of a request each: its candidates, and its history once or often."""
  rng = np.random.default_rng(seed)
  features = np.stack([rng.integers(0, r, (_B, _N)) for r in _ROWS], -1)
  # User and moment are the request's.
  features[:, :, _REQUEST] = features[:, :1, _REQUEST]
  where = np.arange(length)[None, None] < np.array(_COUNTS)[:, None, None]
  whole = (_B, 1, 20)
  history = np.stack([rng.integers(0, _ROWS[f], whole) for f in _HISTORY], -1)
  arrays = {
    "features_BLF": features,
    "history_features_BLHG": history[:, :, :length],
    "history_item_BLH": where,
    "history_action_BLH": rng.integers(0, 4, whole)[:, :, :length] * where,
    "history_seconds_BLH": rng.integers(-1, 10**6, whole)[:, :, :length],
    "label_BL": rng.integers(0, 4, (_B, _N)),
    "labelled_BL": np.ones((_B, _N)),
    "segment_ids_BL": np.ones((_B, _N)),
  }
  if not once:
    arrays = {
      k: np.repeat(v, _N, axis=1) if k.startswith("history_") else v
      for k, v in arrays.items()
    }
  return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}


@functools.cache
def _params(system):
  params = init_params(system, _batch(), jax.random.key(0))
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: x + 0.1 * rng.normal(size=x.shape).astype(np.float32), params
  )


def _ask(system, method, *args):
  return apply(system, {"params": _params(system)}, *args, method=method)


def _train_logits(system, batch):
  return apply(
    system, {"params": _params(system)}, batch, deterministic=True
  ).logits


_FORMS = {
  "plain": {},
  "oldest": {"align": "oldest"},
  "single events": {"size": 1, "width": 12, "num_recent": 20},
  "bare": {"summaries": 0, "user_token": False, "cross_token": False},
  "pooled": {"pool_tokens": True, "remat": True},
  "alone": {"alone": True},
}


def _near(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


_LATER = [pytest.param(n, marks=pytest.mark.slow) for n in _FORMS]


@pytest.mark.parametrize("name", ["plain", *_LATER[1:]])
def test_kept_histories_score_as_training_does(name):
  """Histories of each position, and those kept, in any micro-batches."""
  system = _system(**_FORMS[name])
  expected = _train_logits(system, _batch(once=False))
  assert expected.shape == (_B, _N, 2) and np.isfinite(expected).all()
  kept = _ask(system, "start", _batch())
  asked = {k: v for k, v in _batch().items() if "history" not in k}
  cuts = (0, 1, 6) if name == "plain" else (0, 3, 6)
  for some in map(slice, cuts, cuts[1:]):
    part = {k: v[:, some] for k, v in asked.items()}
    found = _ask(system, "candidates", kept, part)
    _near(found, expected[:, some])


@pytest.mark.slow
def test_a_history_may_be_there_once_and_padding_does_not_matter():
  system = _system()
  expected = _train_logits(system, _batch(once=False))
  _near(_train_logits(system, _batch()), expected)
  _near(_ask(system, "score", _batch(once=False)), expected)
  _near(_ask(system, "score", _batch(length=17)), expected)


def test_a_candidate_changes_neither_the_history_nor_its_neighbours():
  system, batch = _system(), _batch()
  kept = _ask(system, "start", batch)
  scores = _ask(system, "candidates", kept, batch)
  features = batch["features_BLF"]
  for place in _HISTORY:
    features = features.at[:, 0, place].set((features[:, 0, place] + 1) % 4)
  other = batch | {"features_BLF": features}
  again = _ask(system, "start", other)
  for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
    np.testing.assert_array_equal(a, b)
  changed = _ask(system, "candidates", kept, other)
  np.testing.assert_array_equal(changed[:, 1:], scores[:, 1:])
  assert (changed[:, 0] != scores[:, 0]).any(axis=1).all()
  # Who asks, and when, is part of the history.
  moment = batch["features_BLF"].at[:, :, 3].add(1) % 6
  new = _ask(system, "start", batch | {"features_BLF": moment})
  assert (new.summaries_BUW[:, 1] != kept.summaries_BUW[:, 1]).any()


def _loss(system, params, batch):
  logits = apply(system, {"params": params}, batch, deterministic=True).logits
  return jnp.sum(jnp.sin(logits))


@pytest.mark.slow
def test_gradients_reach_all_that_is_learned():
  system = _system(pool_tokens=True)
  gradients = jax.grad(lambda p: _loss(system, p, _batch()))(_params(system))
  flat = jax.tree_util.tree_leaves_with_path(gradients)
  still = {
    jax.tree_util.keystr(path, simple=True, separator="/")
    for path, x in flat
    if not x.any()
  }
  assert still == set()
  merged = gradients["pooling"]["merge"]
  # Of 20 positions, those of ten events.
  reached = merged["position"]["embedding"].any(axis=1)
  assert reached[:10].all() and not reached[10:].any()
  names = {*gradients["pooling"]}
  assert {"summary", "user_in", "candidate_in", "cross_in"} <= names


@pytest.mark.slow
def test_computing_again_is_the_same():
  found = [
    jax.grad(lambda p, s=s: _loss(s, p, _batch()))(_params(_system()))
    for s in (_system(), _system(remat=True))
  ]
  for a, b in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _train(system, batches, steps, rate):
  step = jax.jit(
    make_train_step(
      system, BinaryCrossEntropy(("a", "b")), adamw(rate), jax.random.key(0)
    )
  )
  state, losses = init_state(_params(system), adamw(rate)), []
  for i in range(steps):
    state, metrics = step(state, batches(i))
    losses.append(float(metrics["loss"]))
  return state.params, losses


@pytest.mark.slow
def test_steps_on_one_batch_lower_its_loss():
  _, losses = _train(_system(), lambda i: _batch(), 3, 1e-2)
  assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
def test_it_recalls_what_was_done_with_an_item_in_any_group():
  """The label is the action of the one event with the candidate's feature."""
  system = _system(num_recent=1, inner_layers=0)

  def batch(i):
    rng = np.random.default_rng(i)
    order = rng.permuted(np.tile(np.arange(7), (64, 1)), axis=1)[:, None]
    action = rng.integers(0, 4, order.shape)
    asked = rng.integers(0, 7, (64, _N))
    place = (order == asked[:, :, None]).argmax(-1)
    zeros = np.zeros((64, _N), int)
    arrays = {
      "features_BLF": np.stack([asked, zeros, zeros, zeros], -1),
      "history_features_BLHG": np.stack([order, order * 0], -1),
      "history_item_BLH": order * 0 + 1,
      "history_action_BLH": action,
      "history_seconds_BLH": order * 0,
      "label_BL": np.take_along_axis(action[:, 0], place, axis=1),
      "labelled_BL": zeros + 1,
      "segment_ids_BL": zeros + 1,
    }
    return {k: jnp.asarray(v, jnp.int32) for k, v in arrays.items()}

  params, _ = _train(system, batch, 1500, 1e-2)
  test = batch(-1 % 2**32)
  logits = apply(system, {"params": params}, test, method="score")
  bits = test["label_BL"][..., None] >> jnp.arange(2)[None, None] & 1
  # Guesses are right half of the time.
  assert float(jnp.mean((logits > 0) == (bits > 0))) > 0.75


def test_a_ranker_without_events_or_of_other_widths():
  with pytest.raises(ValueError, match="they have no features: name some"):
    _system().clone(history_columns=())
  with pytest.raises(
    ValueError, match=r"stack\.width=12, and tokens of 2 .* 8"
  ):
    _system(size=2)
  with pytest.raises(ValueError, match="pool_tokens=True, and stack keeps no"):
    _system(pool_tokens=True, num_recent=0)
  with pytest.raises(ValueError, match=r"audience_columns=\(1,\) are of the"):
    _system().clone(audience_columns=(1,), audience_pooling=SumPooling())
