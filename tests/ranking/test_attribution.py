# SPDX-License-Identifier: Apache-2.0
"""Attention that is shown is the attention that is computed with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.transformer import PreNormTransformer
from genrec_jax.data.dataset.requests import cut
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Interleaved,
)
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.ranking.attribution import (
  NoAttentionWeights,
  attribution,
  layer_weights,
)
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from tests.data.layouts.requests_by_hand import (
  FEEDBACK,
  NUM_ITEMS,
  bound,
  user_record,
)

_LAYOUTS = {1: ActionOriented(FEEDBACK, 6, 2), 2: Interleaved(FEEDBACK, 6, 2)}
_SEEN = []


@dataclasses.dataclass(frozen=True)
class Recording(SiluAttention):
  """Keeps the values and the output of each call."""

  def __call__(self, q, k, v, info, bias=None):
    y = super().__call__(q, k, v, info, bias)
    _SEEN.append((v, y))
    return y


def _hstu(attention):
  return HSTU(2, 2, 4, 4, num_positions=40, attention=attention, alibi=True)


def _case(tokens, backbone):
  layout = bound(_LAYOUTS[tokens])
  system = ActionRanker(
    NUM_ITEMS, 8, backbone, LinearHead(num_tasks=2), num_actions=2
  )
  request = asked_about(user_record(), np.array([9], np.int32), 50, NUM_ITEMS)
  batch = layout.impression_batch(request)
  shapes = jax.eval_shape(
    lambda b: system.init(jax.random.key(0), b, deterministic=True), batch
  )
  rng = np.random.default_rng(1)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32),
    shapes["params"],
  )
  return system, params, layout, request


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_weights_times_values_are_the_output_of_the_candidate(tokens):
  backbone = _hstu(Recording(normalizer=4.0))
  system, params, layout, request = _case(tokens, backbone)
  # Five events of six: what stands before them is padding.
  request = dataclasses.replace(request, history=[cut(user_record(), 5)])

  @jax.jit
  def score(params, batch):
    _SEEN.clear()
    _, shown = system.apply(
      {"params": params}, batch, method="score", mutable=["intermediates"]
    )
    return shown, tuple(_SEEN)

  shown, seen = score(params, layout.impression_batch(request))
  layers = layer_weights(shown)
  assert len(layers) == len(seen) == 2
  for weights, (v, y) in zip(layers, seen, strict=True):
    found = jnp.einsum("hm,mha->ha", weights[0, :, -1], v[0])
    np.testing.assert_allclose(found, y[0, -1], rtol=1e-5, atol=1e-6)
  found = attribution(lambda _: shown, layout, request)
  assert found.events_E.tolist() == [0, 1, 2, 3, 4]
  assert found.weights_JE.shape == (2, 5)
  for row, weights in zip(found.weights_JE, layers, strict=True):
    by_token = np.asarray(weights)[0, :, -1].sum(axis=0)
    events = by_token[-1 - 5 * tokens : -1].reshape(5, tokens)
    np.testing.assert_allclose(row, events.sum(axis=1), rtol=1e-6)
  assert not found.context_J.any()
  total = found.weights_JE.sum(axis=1) + found.own_J + found.context_J
  every = [np.asarray(w)[0, :, -1].sum() for w in layers]
  np.testing.assert_allclose(total, every, rtol=1e-5)
  assert found.weights_JE.min() < 0 or tokens == 1


def test_events_are_those_whose_change_is_seen():
  # One layer, interleaved: another action of event e moves the keys of e, and
  # the attention to no other event.
  backbone = HSTU(1, 2, 4, 4, num_positions=40, attention=SiluAttention(4.0))
  system, params, layout, request = _case(2, backbone)
  scorer = CandidateScorer.of(system, params, layout, micro_batch=1)
  before = attribution(scorer.weights_fn, layout, request)
  for place, event in enumerate(before.events_E):
    action = user_record()["action"]
    action[event] = 4 if action[event] != 4 else 1
    other = dataclasses.replace(request, history=[user_record(action)])
    after = attribution(scorer.weights_fn, layout, other)
    moved = np.abs(after.weights_JE - before.weights_JE)[0]
    assert np.flatnonzero(moved > 1e-6).tolist() == [place]


def test_a_call_that_does_not_ask_computes_no_weights(monkeypatch):
  system, params, layout, request = _case(1, _hstu(SiluAttention(4.0)))
  scorer = CandidateScorer.of(system, params, layout, micro_batch=1)

  def refuse(*_):
    raise AssertionError("nobody asked for weights")

  monkeypatch.setattr(SiluAttention, "weights", refuse)
  batch = layout.impression_batch(request)
  assert jax.eval_shape(scorer.score_fn, batch).shape == (1, 1, 2)
  with pytest.raises(AssertionError, match="nobody asked"):
    scorer.weights_fn(batch)


def test_models_without_weights_say_so():
  for backbone in (
    PreNormTransformer(num_layers=1, num_heads=2, ffn_width=8),
    dataclasses.replace(_hstu(SiluAttention(4.0)), scan=True),
  ):
    system, params, layout, request = _case(1, backbone)
    scorer = CandidateScorer.of(system, params, layout, micro_batch=1)
    batch = layout.impression_batch(request)
    shown = jax.eval_shape(scorer.weights_fn, batch)
    with pytest.raises(NoAttentionWeights, match="shows no attention weights"):
      attribution(lambda _, shown=shown: shown, layout, request)
  two = np.array([1, 2], np.int32)
  request = asked_about(user_record(), two, 50, NUM_ITEMS)
  with pytest.raises(ValueError, match="is of one candidate"):
    attribution(scorer.weights_fn, layout, request)
