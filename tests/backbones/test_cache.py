# SPDX-License-Identifier: Apache-2.0
"""Token by token behind a cache is the whole row, for every backbone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.stu import STU
from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import SequenceInfo
from genrec_jax.layers.attention import SiluAttention, SoftmaxAttention
from genrec_jax.layers.cache import Cache, Caching
from genrec_jax.layers.rotary_time import RotaryTime
from genrec_jax.ops.visible_keys import visible_keys

_D, _ROWS, _LENGTH = 8, 2, 9


def _hstu(normalizer=4.0, window=0, full=0, **fields):
  fields = {
    "num_layers": 2,
    "num_heads": 2,
    "key_width": 4,
    "value_width": 3,
    "num_positions": 16,
    "attention": SiluAttention(normalizer, window=window, full=full),
  } | fields
  return HSTU(**fields)


_T5 = {
  "width": _D,
  "num_heads": 2,
  "head_width": 4,
  "ffn_width": 16,
  "num_buckets": 8,
  "max_distance": 7,
}
_BACKBONES = {
  "hstu": _hstu(),
  "alibi": _hstu(alibi=True, position_bias=False),
  "window": _hstu(window=3),
  "softmax": _hstu(attention=SoftmaxAttention()),
  "scanned": _hstu(scan=True),
  "rotary": _hstu(rotary=RotaryTime((977, 86_400))),
  "rotary_scanned": _hstu(rotary=RotaryTime((977,)), scan=True),
  "bfloat16": _hstu(dtype="bfloat16"),
  "causal": CausalTransformer(num_layers=2, **_T5),
  "stu": STU(
    num_layers=2,
    num_heads=2,
    key_width=4,
    value_width=3,
    attention=SiluAttention(2.0),
  ),
}
_SLOW = ("softmax", "bfloat16", "alibi", "stu", "rotary_scanned")
_EACH = pytest.mark.parametrize(
  "name",
  [
    pytest.param(n, marks=pytest.mark.slow if n in _SLOW else ())
    for n in _BACKBONES
  ],
)


def _info(lengths, length=_LENGTH, seed=0):
  """One history per row, padded behind; times are irregular."""
  rng = np.random.default_rng(seed)
  places = np.arange(length)[None, :]
  there = places < np.array(lengths)[:, None]
  gaps = rng.integers(1, 10**5, there.shape)
  times = np.cumsum(gaps, axis=1)
  arrays = there, there * places, times, times + rng.integers(1, 10**4)
  return SequenceInfo(*(jnp.asarray(x, jnp.int32) for x in arrays))


def _x(rows=_ROWS, length=_LENGTH, seed=1):
  x = np.random.default_rng(seed).normal(size=(rows, length, _D))
  return jnp.asarray(x, jnp.float32)


@functools.cache
def _params(name):
  """Of the backbone: far from their small initial values."""
  backbone = _BACKBONES[name]
  shapes = jax.eval_shape(
    functools.partial(backbone.init, deterministic=True),
    jax.random.key(0),
    _x(),
    _info([_LENGTH] * _ROWS),
  )
  return _drawn(shapes)


def _drawn(shapes):
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda s: jnp.asarray(0.4 * rng.normal(size=s.shape), s.dtype), shapes
  )


def _tolerance(name):
  return 0.1 if name == "bfloat16" else 2e-5


def _rows(name, x, info):
  backbone = _BACKBONES[name]
  return backbone.apply(_params(name), x, info, deterministic=True)


def _column(tree, index):
  return jax.tree.map(lambda x: x[:, index, None], tree)


@_EACH
def test_steps_in_a_scan_are_the_row_at_every_position(name):
  """A row that ends before passes padding, and its cache stays as it was."""
  backbone, params = _BACKBONES[name], _params(name)
  assert isinstance(backbone, Caching)
  x, info = _x(), _info([_LENGTH, 5])

  @jax.jit
  def both(x, info):
    def step(cache, index):
      at = jax.tree.map(
        lambda a: jax.lax.dynamic_slice_in_dim(a, index, 1, axis=1), (x, info)
      )
      h, cache = backbone.apply(params, at[0], cache, at[1], method="step")
      return cache, h[:, 0]

    cache = backbone.init_cache(_ROWS, _LENGTH)
    cache, h = jax.lax.scan(step, cache, jnp.arange(_LENGTH))
    return jnp.moveaxis(h, 0, 1), cache, _rows(name, x, info)

  found, cache, whole = both(x, info)
  assert cache.end_BK.tolist() == [[_LENGTH], [5]]
  for key in jax.tree.leaves(cache.own):
    assert np.any(np.asarray(key)[1, 0, 4], axis=-1).all()
    assert not np.any(key[1, 0, 5:])
  for row, length in enumerate((_LENGTH, 5)):
    np.testing.assert_allclose(
      found[row, :length], whole[row, :length], atol=_tolerance(name)
    )


@pytest.mark.slow
@_EACH
@pytest.mark.parametrize(
  "padding", ["before", pytest.param("behind", marks=pytest.mark.slow)]
)
def test_beams_behind_a_history_are_rows_of_their_own(name, padding):
  """Three beams of two, then of three, which change places on the way."""
  backbone, tolerance = _BACKBONES[name], _tolerance(name)
  lengths, steps = (4, 2), 3
  rows = [_info([n + steps], seed=3) for n in lengths]
  # What each beam is made of: of its row's parents, and a token of its own.
  parents = np.array([[0, 0, 0], [2, 0, 0], [1, 2, 1]])
  tokens = np.asarray(_x(_ROWS, steps * 3, seed=4))
  history = np.asarray(_x())
  lines = [[[] for _ in range(3)] for _ in lengths]

  pad = [4 - n if padding == "before" else 0 for n in lengths]
  x = np.zeros((_ROWS, 4, _D), np.float32)
  told = np.zeros((4, _ROWS, 4), np.int32)
  for row, n in enumerate(lengths):
    place = slice(pad[row], pad[row] + n)
    x[row, place] = history[row, :n]
    for i, leaf in enumerate(jax.tree.leaves(rows[row])):
      told[i, row, place] = leaf[0, :n]
  info = SequenceInfo(*map(jnp.asarray, told))

  apply = jax.jit(
    functools.partial(backbone.apply), static_argnames=("method", "length")
  )
  h, cache = apply(_params(name), x, info, length=steps, method="start")
  found = []
  for t in range(steps):
    new = tokens[:, 3 * t : 3 * t + 3]
    lines = [
      [[*line[p], new[row, k]] for k, p in enumerate(parents[t])]
      for row, line in enumerate(lines)
    ]
    at = [n + t for n in lengths]
    now = SequenceInfo(
      *(
        jnp.stack([leaf[0, i, None] for leaf, i in zip(kind, at, strict=True)])
        for kind in zip(*map(jax.tree.leaves, rows), strict=True)
      )
    )
    parents_BK = jnp.broadcast_to(jnp.asarray(parents[t]), (_ROWS, 3))
    y, cache = apply(_params(name), new, cache, now, parents_BK, method="step")
    found.append(y)

  whole = jax.jit(functools.partial(_rows, name))
  for row, n in enumerate(lengths):
    for k in range(3):
      line = np.concatenate([history[row, :n], lines[row][k]])
      line = np.pad(line, ((0, 7 - len(line)), (0, 0)))[None]
      row_info = jax.tree.map(lambda leaf: leaf[:, :7], rows[row])
      expected = whole(line, row_info)[0]
      np.testing.assert_allclose(
        h[row, pad[row] : pad[row] + n], expected[:n], atol=tolerance
      )
      # The state after the last step is that of the whole line.
      np.testing.assert_allclose(
        found[-1][row, k], expected[n + steps - 1], atol=tolerance
      )


def _told(roles, limits, start, length):
  """What attention knows of one row of which only these matter."""
  ones = np.ones_like(roles)
  pad = (start, length - start - len(roles))
  arrays = ones, 0 * ones, 0 * ones, 0 * ones, roles, limits
  return SequenceInfo(*(jnp.asarray(np.pad(x, pad))[None] for x in arrays))


@pytest.mark.parametrize(
  ("window", "full"), [(0, 0), (1, 0), (3, 0), (3, 2), (20, 1)]
)
def test_what_candidates_see_is_what_targets_of_whole_rows_see(window, full):
  """Context, events and targets behind them; in half of the rows, limits."""

  @jax.jit
  def masks(whole, history, new):
    cache = Cache.empty(1, 0, 0, 1, (1, 1), "float32").behind((), history)
    cache = cache.follow(jnp.zeros((1, 3), jnp.int32), 3)
    found, *_ = cache.seen(new, window, full).of_shared()
    return visible_keys(whole, window, full).mask(14), found

  rng = np.random.default_rng(7)
  for number in range(30):
    context, events, targets = (
      int(n) for n in rng.integers((0, 1, 1), (3, 9, 4))
    )
    count, length = context + events, context + events + targets
    kinds = [CONTEXT] * context + [EVENT] * events + [TARGET] * targets
    roles, limits = np.array(kinds, np.int32), np.full(length, -1, np.int32)
    if number % 2:
      limits = rng.integers(-1, count + 1, length).astype(np.int32)
    start = int(rng.integers(0, 12 - count))
    expected, found = masks(
      _told(roles, limits, 0, 14),
      _told(roles[:count], limits[:count], start, 12),
      _told(roles[count:], limits[count:], 0, 3),
    )
    seen = np.zeros((3, 12), bool)
    seen[:targets, start : start + count] = expected[0, count:length, :count]
    np.testing.assert_array_equal(found[0], seen)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hstu", "causal"])
def test_long_generation_is_one_program_and_equals_recomputation(name):
  """Greedy and drawn; the same program for any number of steps."""
  backbone, params = _BACKBONES[name], _params(name)
  length, items = 128, 11
  table = _x(1, items, seed=5)[0]
  prompt = jnp.array([[3, 1, 4, 0], [2, 7, 0, 0]])
  counts = (4, 2)
  prompt_info = _info(counts, 4)
  key = jax.random.key(0)

  def logits(h_BD):
    # As a norm would: states of one backbone have none.
    return 3 * h_BD @ table.T / jnp.linalg.norm(h_BD, axis=-1, keepdims=True)

  def choose(scores_BV, step, temperature):
    noise = jax.random.gumbel(jax.random.fold_in(key, step), scores_BV.shape)
    return jnp.argmax(scores_BV + temperature * noise, axis=-1)

  def info_at(places_BK):
    return SequenceInfo(
      jnp.ones_like(places_BK), places_BK, 60 * places_BK, 60 * places_BK + 60
    )

  @jax.jit
  def generate(steps, temperature):
    start = info_at(prompt_info.positions_BL)
    start = dataclasses.replace(
      start, segment_ids_BL=prompt_info.segment_ids_BL
    )
    h, cache = backbone.apply(
      params, table[prompt], start, length, method="start"
    )
    count_B = jnp.sum(start.valid_BL, axis=1)
    last = jnp.take_along_axis(h, count_B[:, None, None] - 1, axis=1)[:, 0]
    told = jnp.zeros((2, length), jnp.int32)
    scores = jnp.zeros((2, length, items))

    def body(carry):
      step, cache, h_BD, told, scores = carry
      scores_BV = logits(h_BD)
      token_B = choose(scores_BV, step, temperature)
      h, cache = backbone.apply(
        params,
        table[token_B][:, None],
        cache,
        info_at(count_B[:, None] + step),
        method="step",
      )
      told = told.at[:, step].set(token_B)
      scores = scores.at[:, step].set(scores_BV)
      return step + 1, cache, h[:, 0], told, scores

    carry = 0, cache, last, told, scores
    return jax.lax.while_loop(lambda c: c[0] < steps, body, carry)[3:]

  @functools.partial(jax.jit, static_argnums=1)
  def again(told, row):
    """Logits of every step, from one pass over the whole row."""
    tokens = jnp.concatenate([prompt[row, : counts[row]], told])[None]
    places = jnp.arange(tokens.shape[1])[None]
    h = _rows(name, table[tokens], info_at(places))[0]
    return logits(h[counts[row] - 1 : -1])

  for steps, temperature in ((length, 0.0), (5, 1.0), (length, 1.0)):
    told, scores = generate(steps, temperature)
    assert not np.any(told[:, steps:])
    for row in range(2):
      expected = again(told[row], row)[:steps]
      np.testing.assert_allclose(scores[row, :steps], expected, atol=2e-4)
    if temperature and steps == length:
      assert len(set(np.asarray(told[0]).tolist())) > 5
  assert generate._cache_size() == 1


@pytest.mark.slow
def test_a_decoder_behind_its_memory_is_the_whole_target():
  model = EncoderDecoder(num_encoder_layers=1, num_decoder_layers=2, **_T5)
  info = _info([6, 3], 6)
  x, y = _x(2, 6), _x(2, 5, seed=6)
  segment_BS = jnp.ones((2, 1), jnp.int32)

  def whole(m, x, y):
    memory = m.encode(x, info, True)
    return m.decode(y[:, None], segment_BS, memory, info, True)[:, 0]

  shapes = jax.eval_shape(
    lambda: model.init(jax.random.key(0), x, y, method=whole)
  )
  params = _drawn(shapes)

  @jax.jit
  def by_steps(x, y):
    _, cache = model.apply(params, x, info, 5, method="start")

    def step(cache, at):
      place = jnp.full((2, 1), at[0])
      now = SequenceInfo(place * 0 + 1, place, place * 0, place * 0)
      h, after = model.apply(params, at[1][:, None], cache, now, method="step")
      # What was read stays as it is.
      assert all(
        a is b
        for a, b in zip(
          jax.tree.leaves(after.shared),
          jax.tree.leaves(cache.shared),
          strict=True,
        )
      )
      return after, h[:, 0]

    h = jax.lax.scan(step, cache, (jnp.arange(5), jnp.moveaxis(y, 1, 0)))[1]
    return jnp.moveaxis(h, 0, 1)

  expected = jax.jit(functools.partial(model.apply, method=whole))(params, x, y)
  np.testing.assert_allclose(by_steps(x, y), expected, atol=2e-5)
  with pytest.raises(ValueError, match="nothing to attend to"):
    model.apply(
      params, y[:, :1], model.init_cache(2, 3), _info([1, 1], 1), method="step"
    )


def test_what_cannot_equal_whole_rows_is_not_a_number():
  """Lost tokens, context behind, and events that earlier tokens had to see."""
  cache = Cache.empty(1, 2, 1, 1, (1, 1), "float32")
  one = jnp.ones((1, 1), jnp.int32)
  h, key = jnp.ones((1, 1, 3)), jnp.ones((1, 1, 1, 1))

  def new(role=EVENT, limit=-1, segment=1):
    return SequenceInfo(segment * one, one, one, one, role * one, limit * one)

  def then(cache, info, causal=True):
    h_BKD, after = cache.then(h, [(key, key)], info, causal)
    return bool(jnp.isnan(h_BKD).all()), after

  for _ in range(2):
    wrong, cache = then(cache, new())
    assert not wrong
  # A third one has no place: itself is right, and what follows is not.
  wrong, lost = then(cache, new())
  assert not wrong and then(lost, new())[0]
  assert then(cache, new(CONTEXT))[0]
  assert then(cache, new(limit=3))[0] and not then(cache, new(limit=2))[0]
  # Padding and targets leave no trace.
  for role, segment in ((EVENT, 0), (TARGET, 1)):
    wrong, after = then(cache, new(role, segment=segment), causal=False)
    assert not wrong
    for a, b in zip(
      jax.tree.leaves(after), jax.tree.leaves(cache), strict=True
    ):
      np.testing.assert_array_equal(a, b)
  assert then(cache, new(), causal=False)[0]

  def history(role, limit):
    info = SequenceInfo(one, one, one, one, role * one, limit * one)
    return cache.behind([(key, key)], info)

  assert then(history(CONTEXT, -1), new())[0]
  assert not then(history(CONTEXT, -1), new(TARGET))[0]
  assert not then(history(CONTEXT, 1), new())[0]
  assert then(history(EVENT, 2), new())[0]


def test_other_beams_without_parents_are_an_error():
  cache = Cache.empty(1, 2, 1, 1, (1, 1), "float32")
  with pytest.raises(ValueError, match="3 tokens a row behind 1 beams"):
    cache.follow(None, 3)


@pytest.mark.slow
def test_events_whose_mask_depends_on_what_follows_are_not_a_number():
  """With `full`, an event near the end of a row is not what it was before."""
  backbone, params = _hstu(window=3, full=2), _params("window")
  x, info = _x(length=1), _info([1, 1], 1)
  target = dataclasses.replace(
    info, roles_BL=jnp.full_like(info.segment_ids_BL, TARGET)
  )
  cache = backbone.init_cache(_ROWS, 2)
  for what, wrong in ((info, True), (target, False)):
    h, _ = backbone.apply(params, x, cache, what, method="step")
    assert bool(jnp.isnan(h).any()) == wrong


def test_beams_take_all_that_is_their_parents():
  cache = Cache.empty(2, 3, 2, 1, (4, 5), "float32")
  own = cache.own, cache.positions_BKT, cache.times_BKT, cache.end_BK
  rng = np.random.default_rng(0)
  four = jax.tree.map(
    lambda x: jnp.asarray(
      rng.integers(0, 1 << 20, (2, 4, *x.shape[2:])), x.dtype
    ),
    own,
  )
  names = ("own", "positions_BKT", "times_BKT", "end_BK")
  cache = dataclasses.replace(cache, **dict(zip(names, four, strict=True)))
  parents = np.array([[3, 3, 0, 1, 2], [1, 0, 0, 3, 3]], np.int32)
  found = cache.follow(jnp.asarray(parents), 5)
  for name, before in zip(names, four, strict=True):
    pairs = zip(
      jax.tree.leaves(getattr(found, name)),
      jax.tree.leaves(before),
      strict=True,
    )
    for after, old in pairs:
      expected = np.stack([old[b][parents[b]] for b in range(2)])
      np.testing.assert_array_equal(after, expected)
