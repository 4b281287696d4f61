# SPDX-License-Identifier: Apache-2.0
"""Rows that are drawn: as many as is said, evenly, and new ones first."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.layers.row_sampling import RowSampling

_U, _DRAWS = 20, 4000
_WHERE = np.arange(_U) % 4 != 0  # 15 rows
_KNOWN = np.arange(_U) % 3 > 0
_COUNT = np.arange(_U, dtype=np.float32)


@functools.cache
def _drawn(**options):
  """Whether each row was computed, and differentiated, in every draw."""
  sampling = RowSampling(**options)

  def draw(key):
    found = sampling.choose(key, *map(jnp.asarray, (_WHERE, _KNOWN, _COUNT)))
    place = jnp.where(found.forward_F, found.places_F, _U)
    none = jnp.zeros(_U, jnp.int32)
    computed = none.at[place].add(1, mode="drop")
    learned = none.at[place].add(found.backward_F, mode="drop")
    behind = jnp.any(found.backward_F[found.trained :])
    in_use = jnp.all(found.forward_F[:-1] >= found.forward_F[1:])
    return computed, learned, behind, in_use

  keys = jax.random.split(jax.random.key(0), _DRAWS)
  computed, learned, behind, in_use = map(
    np.asarray, jax.jit(jax.vmap(draw))(keys)
  )
  assert computed.max() <= 1 and (learned <= computed).all()
  assert not behind.any() and in_use.all()
  assert not computed[:, ~_WHERE].any()
  return computed, learned


@pytest.mark.parametrize(("forward", "backward"), [(0.2, 0.2), (0.7, 0.3)])
def test_shares_are_what_is_said_and_every_row_has_its_turn(forward, backward):
  computed, learned = _drawn(
    forward=forward, backward=backward, new_first=False
  )
  for found, share in ((computed, forward), (learned, backward)):
    number = math.ceil(share * 15 - 1e-9)
    assert (found.sum(axis=1) == number).all()
    # Four standard deviations of a row's own rate.
    rate = number / 15
    slack = 4 * (rate * (1 - rate) / _DRAWS) ** 0.5
    assert np.abs(found[:, _WHERE].mean(axis=0) - rate).max() < slack


def test_new_rows_come_first_and_all_learn_alike():
  computed, learned = _drawn(forward=0.6, backward=0.3)
  new = _WHERE & ~_KNOWN
  assert new.sum() == 5 < 9
  assert computed[:, new].all() and (computed.sum(axis=1) == 9).all()
  known = _WHERE & _KNOWN
  assert np.abs(computed[:, known].mean(axis=0) - 0.4).max() < 0.04
  # A row that is computed learns as often as another.
  assert np.abs(learned[:, new].mean(axis=0) - 5 / 9).max() < 0.04
  assert np.abs(learned[:, known].mean(axis=0) - 0.4 * 5 / 9).max() < 0.04


def test_popular_rows_that_are_known_rest():
  computed, _ = _drawn(popular_count=10, popular_rate=0.1)
  popular = _WHERE & _KNOWN & (_COUNT >= 10)
  assert 0 < popular.sum() < 15
  assert np.abs(computed[:, popular].mean(axis=0) - 0.1).max() < 0.03
  assert computed[:, _WHERE & ~popular].all()


def test_what_is_everything_and_what_needs_a_memory():
  assert RowSampling().everything and not RowSampling().needs_memory
  fixed = RowSampling(backward=0.5)
  assert not fixed.everything and not fixed.needs_memory
  for options in ({"forward": 0.5, "backward": 0.5}, {"popular_count": 3}):
    sampling = RowSampling(**options)
    assert sampling.needs_memory and not sampling.everything


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"forward": 0.0, "backward": 0.0}, "forward=0.0 must be above 0"),
    ({"forward": 0.2, "backward": 0.3}, "what is learned from is computed"),
    ({"forward": 1.5}, "forward=1.5 must be above 0 and at most 1"),
    ({"backward": -0.1}, "backward=-0.1 from 0"),
    ({"popular_rate": 2.0}, "popular_rate=2.0 must be from 0 to 1"),
    ({"popular_count": 0}, "popular_count=0 must be at least 1"),
  ],
)
def test_shares_that_cannot_be(options, message):
  with pytest.raises(ValueError, match=message):
    RowSampling(**options)
