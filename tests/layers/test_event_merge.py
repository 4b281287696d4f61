# SPDX-License-Identifier: Apache-2.0
"""Tokens of neighbouring events: joined, aligned, and blind to padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.event_merge import EventMerge

_E, _D, _L = 3, 4, 10


def _merge(**options):
  defaults = {"size": 3, "width": _D, "num_positions": 16}
  return EventMerge(**(defaults | options))


def _history(length=_L, count=7, seed=0):
  """A row: events, how long ago they were, and which are there."""
  rng = np.random.default_rng(seed)
  events = rng.normal(size=(1, 16, _E))[:, :length].astype(np.float32)
  seconds = rng.integers(-1, 10**6, (1, 16))[:, :length].astype(np.int32)
  return events, seconds, np.arange(length)[None] < count


@functools.cache
def _params(merge, told=True):
  events, seconds, where = _history()
  params = jax.jit(merge.init)(
    jax.random.key(1), events, seconds if told else None, where
  )
  # Norms and positions that differ from their neighbours.
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), params
  )


@functools.partial(jax.jit, static_argnums=0)
def _apply(merge, params, *history):
  return merge.apply(params, *history)


def _tokens(merge, history, told=True):
  events, seconds, where = history
  tokens, there = _apply(
    merge, _params(merge, told), events, seconds if told else None, where
  )
  return np.asarray(tokens)[0], np.asarray(there)[0]


@pytest.mark.parametrize("align", ["newest", "oldest"])
def test_tokens_are_the_joined_events(align):
  """A token of three is three tokens of one, in the same places."""
  three, one = _merge(align=align), _merge(align=align, size=1)
  params = _params(three)
  history = _history()
  tokens, there = (np.asarray(x)[0] for x in _apply(three, params, *history))
  single, _ = _apply(one, params, *history)
  events = [*np.asarray(single)[0][-7:]]
  none = [np.zeros(_D)] * 2
  slots = none + events if align == "newest" else events + none
  assert there.tolist() == [False] + [True] * 3
  assert not tokens[0].any()
  np.testing.assert_allclose(
    tokens[1:].reshape(9, _D), slots, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("align", ["newest", "oldest"])
def test_only_groups_from_the_oldest_stay(align):
  """A further event, told how long it came after the one before."""
  merge = _merge(align=align, inner_layers=1)
  before, _ = _tokens(merge, _history(count=7))
  after, _ = _tokens(merge, _history(count=8))
  same = [np.allclose(before[t], after[t], atol=1e-6) for t in (1, 2, 3)]
  assert same == ([True, True, False] if align == "oldest" else [False] * 3)


@pytest.mark.parametrize("align", ["newest", "oldest"])
def test_padding_is_as_if_it_were_not_there(align):
  merge = _merge(align=align, inner_layers=1)
  tokens, there = _tokens(merge, _history())
  longer, more = _tokens(merge, _history(length=15))
  np.testing.assert_allclose(longer[-4:], tokens, rtol=1e-5, atol=1e-6)
  assert more.tolist() == [False] + there.tolist()
  events, seconds, where = _history()
  filled = np.where(where[..., None], events, 9.0), np.where(where, seconds, 5)
  other, _ = _tokens(merge, (*filled, where))
  np.testing.assert_array_equal(other[there], tokens[there])


def test_fewer_events_than_a_group_and_none():
  merge = _merge(inner_layers=1)
  for count, expected in ((2, 1), (0, 0)):
    tokens, there = _tokens(merge, _history(count=count))
    assert there.sum() == expected and np.isfinite(tokens).all()
    assert tokens[there].any() == (count > 0)
    assert not tokens[~there].any()


@pytest.mark.parametrize(
  "num_gaps", [0, pytest.param(40, marks=pytest.mark.slow)]
)
def test_times_are_told_and_an_unknown_one_is_told_apart(num_gaps):
  merge = _merge(num_gaps=num_gaps)
  events, seconds, where = _history()
  found = []
  for ago in (-1, 0, 90, 10**6):
    changed = np.where(np.arange(_L) == 6, ago, np.abs(seconds))
    found.append(_tokens(merge, (events, changed.astype(np.int32), where))[0])
  assert not np.allclose(found[0], found[1])
  assert not np.allclose(found[1], found[2])
  assert not np.allclose(found[2], found[3])
  # The group of the event alone.
  np.testing.assert_array_equal(found[0][:-1], found[3][:-1])
  assert _tokens(merge, (events, None, where), told=False)[0].shape == (4, 12)


@pytest.mark.slow
def test_members_of_a_group_see_each_other_and_no_others():
  merge = _merge(inner_layers=1)
  events, seconds, where = _history()
  # Event 6 is the last of the newest group, 4 its first.
  slope = jax.jacobian(
    lambda x: _apply(merge, _params(merge), x, seconds, where)[0]
  )(jnp.asarray(events))
  reach = np.abs(np.asarray(slope)[0, :, :, 0]).sum(axis=(1, 3))
  groups = [[], [0], [1, 2, 3], [4, 5, 6]]
  assert [np.flatnonzero(row).tolist() for row in reach] == groups
  first = np.asarray(slope)[0, 3, :_D, 0]
  assert np.abs(first[:, 6]).sum() > 0


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"size": 0}, r"merge\.size=0 must be at least 1, a whole number"),
    ({"align": "newst"}, "align='newst' is unknown. Did you mean 'newest'"),
    ({"inner_layers": -1}, r"inner_layers=-1 must be at least 0"),
  ],
)
def test_options_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    _merge(**options)


def test_more_events_than_positions():
  merge = _merge(num_positions=9)
  with pytest.raises(ValueError, match="num_positions=9, .* have 10 places"):
    jax.jit(merge.init)(jax.random.key(0), *_history())
