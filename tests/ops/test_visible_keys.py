# SPDX-License-Identifier: Apache-2.0
"""An interval and oneself say the same as the published rules, pair by pair."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.roles import CONTEXT, EVENT, TARGET
from genrec_jax.core.types import SequenceInfo
from genrec_jax.ops.visible_keys import visible_keys


def _rows(seed):
  """Segments of (context, events, targets), padding between and behind."""
  rng = np.random.default_rng(seed)
  segments, roles = [], []
  for number in range(1, 6):
    for role, most in ((CONTEXT, 3), (EVENT, 9), (TARGET, 4)):
      size = int(rng.integers(role == EVENT, most))
      segments += [number] * size
      roles += [role] * size
  segments += [0, 0, 0]
  roles += [EVENT] * 3
  return np.array(segments)[None], np.array(roles)[None]


def _published(segments, roles, window, full):
  """The production layer's rules (peers' ids: context 0, events 1, 2, ...,
  all targets one id past the last event)."""
  length = len(segments)
  mask = np.zeros((length, length), bool)
  for number in set(segments) - {0}:
    here = np.flatnonzero(segments == number)
    context = int(np.sum(roles[here] == CONTEXT))
    targets = int(np.sum(roles[here] == TARGET))
    last = len(here) - context - targets + 1
    ids = np.clip(np.arange(len(here)) - context + 1, 0, last)
    for a, i in enumerate(here):
      for b, j in enumerate(here):
        seen = a == b or ids[a] > ids[b]
        if window and ids[a] < (last - full if full else np.inf):
          seen = seen and ids[a] - ids[b] <= window
        if roles[i] == CONTEXT:
          seen = seen or ids[b] < last
        mask[i, j] = seen
  return mask


@pytest.mark.parametrize(
  ("window", "full"), [(0, 0), (1, 0), (4, 0), (4, 3), (100, 2)]
)
@pytest.mark.parametrize("seed", range(4))
def test_masks_are_the_published_ones(seed, window, full):
  segments, roles = _rows(seed)
  zeros = jnp.zeros(segments.shape, jnp.int32)
  info = SequenceInfo(
    jnp.asarray(segments), zeros, zeros, zeros, jnp.asarray(roles)
  )
  got = visible_keys(info, window, full).mask(segments.shape[1])[0]
  expected = _published(segments[0], roles[0], window, full)
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
  ("seed", "window", "limited"), [(0, 0, False), (1, 3, True), (2, 3, False)]
)
def test_a_hole_among_targets_changes_nothing_for_the_others(
  seed, window, limited
):
  """As if the candidates that were left out had never had a place."""
  segments, roles = (x[0] for x in _rows(seed))
  # A segment of nothing but targets comes first.
  segments = np.concatenate([[9, 9, 9], segments])
  roles = np.concatenate([[TARGET] * 3, roles])
  rng = np.random.default_rng(seed)
  targets = np.flatnonzero(roles == TARGET)
  last = np.append(segments[targets][1:] != segments[targets][:-1], True)
  left_out = targets[~last & (rng.random(len(targets)) < 0.5)]
  assert len(left_out)
  limits = np.where(roles == TARGET, np.where(segments == 9, 0, 1), -1)

  def mask(keep, fill):
    arrays = (segments, roles, limits)
    segment, role, limit = (
      jnp.asarray(np.where(fill, 0, x)[keep])[None] for x in arrays
    )
    zeros = jnp.zeros_like(segment)
    info = SequenceInfo(
      *(segment, zeros, zeros, zeros, role), limit if limited else None
    )
    seen = jax.jit(lambda info: visible_keys(info, window).mask(len(keep)))
    return np.asarray(seen(info)[0])[:, : segment.shape[1]]

  hole = np.isin(np.arange(len(segments)), left_out)
  compact = mask(~hole, False)
  whole = mask(np.ones_like(hole), hole)
  np.testing.assert_array_equal(whole[~hole][:, ~hole], compact)
  assert not whole[hole].any() and not whole[:, hole].any()


def test_without_roles_all_are_events():
  segments, roles = _rows(0)
  zeros = jnp.zeros(segments.shape, jnp.int32)
  info = SequenceInfo(jnp.asarray(segments), zeros, zeros, zeros)
  got = visible_keys(info).mask(segments.shape[1])[0]
  expected = _published(segments[0], np.full_like(roles[0], EVENT), 0, 0)
  np.testing.assert_array_equal(got, expected)


def test_some_queries_and_a_part_of_the_keys():
  segments, roles = _rows(1)
  zeros = jnp.zeros(segments.shape, jnp.int32)
  info = SequenceInfo(
    jnp.asarray(segments), zeros, zeros, zeros, jnp.asarray(roles)
  )
  visible = visible_keys(info)
  whole = np.asarray(visible.mask(segments.shape[1]))
  index = jnp.array([[5, -1, 2]])
  some = np.asarray(visible.take(index).mask(7, start=3))
  np.testing.assert_array_equal(some[0, 0], whole[0, 5, 3:10])
  assert not some[0, 1].any()
  np.testing.assert_array_equal(some[0, 2], whole[0, 2, 3:10])


@pytest.mark.parametrize("window", [0, 1])
def test_a_limit_counts_from_the_start_of_its_segment(window):
  segments = jnp.array([[1, 1, 2, 2, 2, 2, 0]])
  zeros = jnp.zeros(segments.shape, jnp.int32)
  limits = jnp.array([[-1, 1, -1, -1, 0, 2, -1]])
  info = SequenceInfo(segments, zeros, zeros, zeros, limits_BL=limits)
  mask = visible_keys(info, window).mask(7)[0]
  seen = [np.flatnonzero(row).tolist() for row in np.asarray(mask)]
  assert seen[0] == [0] and seen[2] == [2] and seen[6] == []
  assert seen[1] == [0, 1]
  assert seen[4] == [4]
  assert seen[5] == ([2, 3, 5] if not window else [3, 5])
