# SPDX-License-Identifier: Apache-2.0
"""Random tries, models whose logits depend on the whole prefix, enumeration.

The model is a hash: its cache holds one hash per beam, of the request and of
all codes so far, so a beam that is given another's cache shows. Logits are
small multiples of 1/2: different codes often tie.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.trie_sizes import TrieSizes


def _mix(x, y, xp):
  x = (x ^ y) * xp.uint32(0x9E3779B1)
  x = (x ^ (x >> 15)) * xp.uint32(0x85EBCA77)
  return x ^ (x >> 13)


def _logits(hashes, size, xp):
  codes = xp.arange(size, dtype=xp.uint32)
  codes = codes.reshape((1,) * hashes.ndim + (size,))
  return (_mix(hashes[..., None], codes, xp) % xp.uint32(13)) / xp.float32(2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HashDecoder:
  """Logits from a hash of (request, codes so far)."""

  request_B: jax.Array
  level_sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})

  def start(self):
    hash_B = _mix(self.request_B, jnp.uint32(7), jnp)
    return hash_B[:, None], _logits(hash_B, self.level_sizes[0], jnp)

  def step(self, cache, level, codes_BK, parents_BK):
    assert cache.dtype == jnp.uint32
    hash_BK = jnp.take_along_axis(cache, parents_BK, axis=1)
    hash_BK = _mix(hash_BK, codes_BK.astype(jnp.uint32) + 1, jnp)
    return hash_BK, _logits(hash_BK, self.level_sizes[level], jnp)


@dataclasses.dataclass(frozen=True)
class Case:
  """A catalogue, its trie, requests and a mask."""

  codes: np.ndarray
  live: np.ndarray
  trie: Trie
  decoder: HashDecoder
  allowed: np.ndarray

  @property
  def num_leaves(self) -> int:
    """Distinct lists of codes."""
    return max(len({tuple(c) for c in self.codes[self.live]}), 1)

  def scores(self, allowed=None):
    """log p(codes) of every item by enumeration, float64 (B, V1)."""
    requests = np.asarray(self.decoder.request_B)
    scores = np.full((len(requests), len(self.codes)), -np.inf)
    for item in np.flatnonzero(self.live):
      hashes = _mix(requests, np.full_like(requests, 7), np)
      total = np.zeros(len(requests))
      for code, size in zip(
        self.codes[item], self.trie.level_sizes, strict=True
      ):
        logits = _logits(hashes, size, np).astype(np.float64)
        total += logits[:, code] - np.log(np.exp(logits).sum(axis=1))
        hashes = _mix(hashes, np.full_like(hashes, code + 1), np)
      scores[:, item] = total
    return scores if allowed is None else np.where(allowed, scores, -np.inf)


# Few shapes, since each is a compilation: sizes of levels, items, dense levels.
# Tries are filled up to the largest that these allow.
SHAPES = (
  ((3, 4, 2), 14, 1),
  ((5,), 7, 0),
  ((2, 40, 1, 3), 25, 2),
)


def make(seed: int, shape: int, batch: int = 3) -> Case:
  """A random case; each seed has its own skew, duplicates and dead items."""
  rng = np.random.default_rng(seed)
  sizes, num_items, dense = SHAPES[shape % len(SHAPES)]
  # Skewed: few codes take most items, so that lists repeat and levels differ.
  codes = np.zeros((num_items + 1, len(sizes)), np.int32)
  for level, size in enumerate(sizes):
    skew = rng.dirichlet(np.full(size, rng.choice([0.2, 5.0])))
    codes[1:, level] = rng.choice(size, num_items, p=skew)
  live = rng.random(num_items + 1) < rng.choice(
    [0.0, 0.5, 1.0], p=[0.1, 0.4, 0.5]
  )
  live[0] = False
  trie = Trie.build(codes, sizes, live, sizes=_largest(sizes, num_items, dense))
  request = rng.integers(0, 2**32, batch, np.uint32)
  # One request may have everything, one a few, one nothing.
  share = rng.choice([0.0, 0.1, 0.5, 1.0], (batch, 1))
  allowed = rng.random((batch, num_items + 1)) < share
  decoder = HashDecoder(jnp.asarray(request), tuple(sizes))
  return Case(codes, live, trie, decoder, allowed)


def _largest(level_sizes, num_items, dense_levels) -> TrieSizes:
  states = np.minimum(np.cumprod(level_sizes), num_items)
  return TrieSizes(
    level_sizes=level_sizes,
    rows=num_items + 1,
    items=num_items,
    states=tuple(states.tolist()),
    branch=tuple(min(size, num_items) for size in level_sizes),
    group=num_items,
    dense_levels=dense_levels,
  )


def assert_best(case, ids, scores, codes, expected_BV1) -> None:
  """Asserts that these are the best of the expected scores, in order.

  Scores differ from the enumeration's by rounding, so which of two near-equal
  items comes first is judged by the scores returned.
  """
  ids, scores = np.asarray(ids), np.asarray(scores)
  k = ids.shape[1]
  for b, expected in enumerate(expected_BV1):
    count = min(k, int((expected > -np.inf).sum()))
    np.testing.assert_array_equal(ids[b, count:], 0)
    np.testing.assert_array_equal(scores[b, count:], -np.inf)
    found, value = ids[b, :count], scores[b, :count]
    assert len(set(found.tolist())) == count
    np.testing.assert_allclose(value, expected[found], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(
      value, np.sort(expected)[::-1][:count], rtol=2e-6, atol=2e-6
    )
    pairs = list(zip(-value, found, strict=True))
    assert pairs == sorted(pairs)
    np.testing.assert_array_equal(codes[b, :count], case.codes[found])
    np.testing.assert_array_equal(codes[b, count:], 0)
