# SPDX-License-Identifier: Apache-2.0
"""The lazy decoder against loops, token by token, grouped and ungrouped."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.cache import Caching
from genrec_jax.layers.transformer import FeedForward

_D, _E, _M = 8, 2, 3
_ROWS, _EVENTS, _TARGETS = 2, 5, 3


def _model(**fields):
  sizes = {
    "width": _D,
    "num_layers": 3,
    "num_heads": 4,
    "head_width": _E,
    "ffn": FeedForward(_D, 12, 0.0),
    "target_tokens": _M,
  }
  return LazyDecoder(**sizes | fields)


_PLAIN = {"num_layers": 2}
_RICH = {
  "num_key_heads": 2,
  "num_sets": 2,
  "shared_values": False,
  "self_key_heads": 2,
  "event_width": 6,
  "recency_buckets": 4,
  "max_distance": 5,
}
# Of distances from 1 to 5.
_BUCKETS = [1, 2, 2, 3, 3]


def _x(*shape, seed):
  x = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(x, jnp.float32)


def _info(segments):
  """Of events of M tokens each; a segment's lie side by side."""
  segments = np.repeat(np.array(segments, np.int32), _M, axis=1)
  positions = np.zeros_like(segments)
  for row, line in enumerate(segments):
    for segment in set(line.tolist()) - {0}:
      count = int((line == segment).sum())
      positions[row, line == segment] = np.arange(count)
  none = np.zeros_like(segments)
  arrays = segments, positions, none, none
  return SequenceInfo(*map(jnp.asarray, arrays))


_INFO = _info([[1, 1, 1, 2, 2], [1, 1, 1, 1, 0]])
_SEGMENT_BS = jnp.array([[1, 1, 2], [1, 1, 0]], jnp.int32)
# In events; some targets see less than what is there.
_FIRST = np.array([[0, 1, 0], [0, 2, 0]], np.int32)
_END = np.array([[2, 3, 1], [1, 4, 0]], np.int32)
_WITHIN_BS = (jnp.asarray(_FIRST * _M), jnp.asarray(_END * _M))
_X = _x(_ROWS, _EVENTS * _M, _D, seed=1)
_Y = _x(_ROWS, _TARGETS, _M, _D, seed=2)


def _whole(model, x, y, segment_BS, info, within_BS):
  memory = model.encode(x, info, True)
  return model.decode(y, segment_BS, memory, info, True, within_BS)


def _params(model):
  """Far from small initial values."""
  shapes = jax.eval_shape(
    lambda: model.init(
      jax.random.key(0), _X, _Y, _SEGMENT_BS, _INFO, None, method=_whole
    )
  )
  rng = np.random.default_rng(3)
  return jax.tree.map(
    lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), s.dtype), shapes
  )


@functools.partial(jax.jit, static_argnums=0)
def _decoded(model, params, x, y, segment_BS, info, within_BS):
  args = x, y, segment_BS, info, within_BS
  return model.apply(params, *args, method=_whole)


def _norm(x, scale):
  return x / np.sqrt(np.mean(x**2) + 1e-6) * scale


def _softmax(scores):
  weights = np.exp(np.array(scores) - max(scores))
  return weights / weights.sum()


def _attend(q, keys, values, added):
  """One query (H, E) over lists of keys and values (G, E)."""
  serves = len(q) // len(keys[0]) if keys else 1
  out = np.zeros((len(q), _E))
  for h in range(len(q)) if keys else ():
    scores = [q[h] @ k[h // serves] + added[h][j] for j, k in enumerate(keys)]
    for w, v in zip(_softmax(scores), values, strict=True):
      out[h] += w * v[h // serves]
  return out.reshape(-1)


def _by_hand(model, params):
  """All targets, one number after the other."""
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["params"])
  x, y = np.asarray(_X, np.float64), np.asarray(_Y, np.float64)
  rich = model.event_width > 0
  kinds = 1 if model.shared_values else 2
  context = p["context"]
  out = np.zeros_like(y)

  def kernel(part, name):
    return p[part][name]["kernel"]

  for b in range(_ROWS):
    kept = []
    for n in range(_EVENTS):
      z = x[b, n * _M : (n + 1) * _M].reshape(-1)
      if rich:
        z = z @ context["event_in"]["kernel"] + context["event_in"]["bias"]
        z = np.where(z > 0, z, 0.01 * z)
        z = z @ context["event_out"]["kernel"] + context["event_out"]["bias"]
      chunks = np.split(
        z @ context["project"]["kernel"], kinds * model.num_sets
      )
      scales = context["norm"]["scale"]
      kept.append(
        [
          _norm(c, s).reshape(model.num_key_heads, _E)
          for c, s in zip(chunks, scales, strict=True)
        ]
      )
    segments = np.asarray(_INFO.segment_ids_BL)[b, ::_M]
    positions = np.asarray(_INFO.positions_BL)[b, ::_M] // _M
    for s in range(_TARGETS):
      mine = int(_SEGMENT_BS[b, s])
      seen = [
        n
        for n in range(_EVENTS)
        if mine and segments[n] == mine
        if _FIRST[b, s] <= positions[n] < _END[b, s]
      ]
      added = np.zeros((4, len(seen)))
      if rich:
        for j, n in enumerate(seen):
          bucket = _BUCKETS[_END[b, s] - positions[n] - 1]
          added[:, j] = p["recency_bias"]["embedding"][:, bucket]
      h = y[b, s].copy()
      for i in range(model.num_layers):
        of = kinds * (i * model.num_sets // model.num_layers)
        norms = [p[f"norms_{3 * i + j}"]["scale"] for j in range(3)]
        cross, own, ffn = (
          f"{name}_{i}"
          for name in ("cross_attention", "self_attention", "ffns")
        )
        for m in range(_M):
          q = (_norm(h[m], norms[0]) @ kernel(cross, "query")).reshape(4, _E)
          keys = [kept[n][of] for n in seen]
          values = [kept[n][of + kinds - 1] for n in seen]
          h[m] = h[m] + _attend(q, keys, values, added) @ kernel(
            cross, "output"
          )
        z = [_norm(one, norms[1]) for one in h]
        for m in range(_M):
          q = (z[m] @ kernel(own, "query")).reshape(4, _E)
          keys, values = (
            [(one @ kernel(own, name)).reshape(-1, _E) for one in z[: m + 1]]
            for name in ("key", "value")
          )
          y_m = _attend(q, keys, values, np.zeros((4, m + 1)))
          h[m] = h[m] + y_m @ kernel(own, "output")
        for m in range(_M):
          inner = np.maximum(_norm(h[m], norms[2]) @ kernel(ffn, "in"), 0)
          h[m] = h[m] + inner @ kernel(ffn, "out")
      for m in range(_M):
        out[b, s, m] = _norm(h[m], p["final_scale"][m])
  return out


@pytest.mark.parametrize(
  "fields", [_RICH, pytest.param(_PLAIN, marks=pytest.mark.slow)]
)
def test_outputs_are_those_of_loops(fields):
  model = _model(**fields)
  params = _params(model)
  args = _X, _Y, _SEGMENT_BS, _INFO, _WITHIN_BS
  found = _decoded(model, params, *args)
  np.testing.assert_allclose(found, _by_hand(model, params), atol=3e-5)


def test_beams_behind_a_context_are_targets_of_their_own():
  """Two beams of one, which change places; padding behind a history."""
  model = _model(**_RICH)
  assert isinstance(model, Caching)
  params = _params(model)
  info = _info([[1] * 5, [1, 1, 1, 0, 0]])
  tokens = np.asarray(_x(_ROWS, _M, 2, _D, seed=5))
  parents = np.array([[0, 0], [1, 0], [1, 1]])
  # What each beam has written in the end: tokens by step and beam.
  lines = [[0], [1]]
  for t in range(1, _M):
    lines = [[*lines[p], k] for k, p in enumerate(parents[t])]
  y = np.stack(
    [np.stack([tokens[:, t, k] for t, k in enumerate(n)], 1) for n in lines], 1
  )

  @jax.jit
  def by_steps(x, tokens):
    _, cache = model.apply(params, x, info, _M, method="start")
    assert len(cache.shared) == model.num_sets
    for t in range(_M):
      place = jnp.full((_ROWS, 1), t)
      now = SequenceInfo(place * 0 + 1, place, place * 0, place * 0)
      origin = jnp.broadcast_to(jnp.asarray(parents[t]), (_ROWS, 2))
      h, after = model.apply(
        params, tokens[:, t], cache, now, origin, method="step"
      )
      # What was read is the same for all beams, and stays.
      assert after.shared is cache.shared
      cache = after
    return h

  segment_BS = jnp.ones((_ROWS, 2), jnp.int32)
  whole = _decoded(model, params, _X, jnp.asarray(y), segment_BS, info, None)
  found = by_steps(_X, jnp.asarray(tokens))
  np.testing.assert_allclose(found, whole[:, :, -1], atol=2e-5)


def test_a_step_without_a_context_is_an_error():
  model = _model(**_PLAIN)
  one = _info([[1]])
  one = jax.tree.map(lambda x: x[:, :1], one)
  with pytest.raises(ValueError, match="nothing to attend to"):
    model.apply(
      _params(model), _Y[:1, :1, 0], model.init_cache(1, 3), one, method="step"
    )


def test_a_state_depends_on_tokens_before_it_and_events_it_sees_alone():
  """By gradients: of its target the tokens up to it, of its row the events."""
  model = _model(**_RICH)
  params = _params(model)

  @jax.jit
  def gradients(b, s, m):
    def state(x, y):
      args = x, y, _SEGMENT_BS, _INFO, _WITHIN_BS
      h = model.apply(params, *args, method=_whole)
      return jnp.sum(h[b, s, m] * jnp.arange(1.0, _D + 1))

    of_x, of_y = jax.grad(state, (0, 1))(_X, _Y)
    return tuple(jnp.any(g != 0, axis=-1) for g in (of_x, of_y))

  for b, s, m in ((0, 1, 1), (0, 2, 0), (1, 0, 2), (1, 1, 1)):
    of_x, of_y = gradients(b, s, m)
    expected = np.zeros((_ROWS, _TARGETS, _M), bool)
    expected[b, s, : m + 1] = True
    np.testing.assert_array_equal(of_y, expected)
    expected = np.zeros((_ROWS, _EVENTS), bool)
    # The second segment of the first row starts at event 3.
    start = 3 if (b, s) == (0, 2) else 0
    expected[b, start + _FIRST[b, s] : start + _END[b, s]] = True
    np.testing.assert_array_equal(of_x, np.repeat(expected, _M, axis=1))


def test_context_is_a_set_and_padding_is_nothing():
  model = _model(**_PLAIN)
  params = _params(model)
  info = _info([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
  segment_BS = jnp.array([[1, 1, 0], [1, 0, 1]], jnp.int32)
  args = _Y, segment_BS, info, None
  whole = _decoded(model, params, _X, *args)
  events = np.asarray(_X).reshape(_ROWS, _EVENTS, _M, _D).copy()
  events[0, :4] = events[0, [2, 0, 3, 1]]
  events[1, :2] = events[1, [1, 0]]
  moved = jnp.asarray(events.reshape(_X.shape))
  np.testing.assert_allclose(
    _decoded(model, params, moved, *args), whole, atol=1e-5
  )
  events[0, 4] = 1e4
  events[1, 2:] = -1e4
  padded = jnp.asarray(events.reshape(_X.shape))
  there = np.asarray(segment_BS) > 0
  np.testing.assert_array_equal(
    np.asarray(_decoded(model, params, padded, *args))[there],
    np.asarray(_decoded(model, params, moved, *args))[there],
  )


def _tiled(kernel, groups, times):
  """Each head of the last dimension `times` times."""
  shape = (*kernel.shape[:-1], -1, groups, _E)
  heads = np.repeat(np.asarray(kernel).reshape(shape), times, axis=-2)
  return jnp.asarray(heads.reshape(*kernel.shape[:-1], -1))


def test_grouped_queries_are_ungrouped_ones_of_tiled_keys():
  """Two heads of keys for four of queries, in context and among targets."""
  fields = {**_RICH, "shared_values": True}
  grouped = _model(**fields)
  alone = _model(**{**fields, "num_key_heads": 4, "self_key_heads": None})
  params = _params(grouped)
  tree = jax.tree.map(lambda x: x, params)["params"]
  context = tree["context"]
  context["project"]["kernel"] = _tiled(context["project"]["kernel"], 2, 2)
  context["norm"]["scale"] = _tiled(context["norm"]["scale"], 2, 2)
  for i in range(3):
    for name in ("key", "value"):
      part = tree[f"self_attention_{i}"][name]
      part["kernel"] = _tiled(part["kernel"], 2, 2)
  shapes = [
    jax.tree.map(jnp.shape, t) for t in ({"params": tree}, _params(alone))
  ]
  assert shapes[0] == shapes[1]
  args = _X, _Y, _SEGMENT_BS, _INFO, _WITHIN_BS
  np.testing.assert_allclose(
    _decoded(alone, {"params": tree}, *args),
    _decoded(grouped, params, *args),
    atol=1e-5,
  )


@pytest.mark.parametrize(
  "fields",
  [
    _PLAIN,
    _RICH,
    {"num_sets": 3, "num_key_heads": 4},
    {"num_layers": 6, "join_events": False},
  ],
)
def test_layers_have_no_keys_of_the_context_and_share_those_there_are(fields):
  model = _model(**fields)
  width, inner = _D, 4 * _E
  kinds = model.num_sets * (1 if model.shared_values else 2)
  kept = kinds * model.num_key_heads * _E
  read = width * (_M if model.join_events else 1)
  context = read * kept + kept
  if model.event_width:
    hidden = model.event_width
    context = (read + 1) * hidden + (hidden + 1) * width + width * kept + kept
  own = (model.self_key_heads or 4) * _E
  layer = 2 * width * inner + 2 * width * (inner + own) + 2 * width * 12
  layers = model.num_layers * (layer + 3 * width)
  bias = 4 * model.recency_buckets
  count = sum(x.size for x in jax.tree.leaves(_params(model)))
  assert count == context + layers + bias + _M * width


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"num_key_heads": 3}, "num_key_heads=3 must divide num_heads=4"),
    ({"self_key_heads": 8}, "self_key_heads=8 must divide num_heads=4"),
    ({"num_sets": 4}, "num_sets=4: 3 layers read no more"),
    ({"target_tokens": 0}, "target_tokens=0 must be at least 1"),
  ],
)
def test_sizes_that_cannot_be_name_themselves(fields, message):
  with pytest.raises(ValueError, match=message):
    _model(**fields)


def test_rows_and_targets_of_other_tokens_name_the_config():
  model = _model()
  for x, y, info, message in (
    (_X[:, :4], _Y, _INFO, "rows of 4 tokens are no whole number of events"),
    (_X, _Y[:, :, :2], _INFO, "target_tokens=3, and targets have 2"),
  ):
    with pytest.raises(ValueError, match=message):
      _decoded(model, _params(model), x, y, _SEGMENT_BS, info, None)


def test_a_feed_forward_part_says_how_its_own_is_split():
  axes = {"in/kernel": ("width", None), "out/kernel": (None, "width")}

  class Other(FeedForward):
    logical_axes = axes

  model = _model(ffn=Other(_D, 12, 0.0))
  assert model.logical_axes["ffns_*/in/kernel"] == ("width", None)
  assert dataclasses.fields(Other) and model.shares_history
