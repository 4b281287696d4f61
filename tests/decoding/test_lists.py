# SPDX-License-Identifier: Apache-2.0
"""Lists: a wide beam is an enumeration; draws follow the probabilities."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.lists import beam_lists, sample_lists
from genrec_jax.decoding.trie import Trie
from tests.decoding.cases import _logits, _mix

_SIZES = (3, 2)
# Items 2 and 5 share their codes; nothing has the codes (2, 0).
_CODES = np.array(
  [[0, 0], [0, 1], [1, 1], [2, 1], [1, 0], [1, 1], [0, 0]], np.int32
)
_SIZE = 3
_BEGIN = 77


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HashLists:
  """Logits from a hash of (request, codes so far), a list beginning anew."""

  request_B: jax.Array

  def begin_lists(self, num_lists, list_size):
    del list_size
    hash_BK = jnp.repeat(self.request_B[:, None], num_lists, axis=1)
    return hash_BK, jnp.zeros(hash_BK.shape, jnp.int32)

  def next_item(self, cache, codes_BK, parents_BK, behind):
    hash_BK = jnp.take_along_axis(cache, parents_BK, axis=1)
    read_BK = _mix(hash_BK, codes_BK.astype(jnp.uint32) + 1, jnp)
    hash_BK = jnp.where(behind, read_BK, hash_BK)
    hash_BK = _mix(hash_BK, jnp.uint32(_BEGIN), jnp)
    return hash_BK, _logits(hash_BK, _SIZES[0], jnp)

  def step(self, cache, level, codes_BK, parents_BK):
    hash_BK = jnp.take_along_axis(cache, parents_BK, axis=1)
    hash_BK = _mix(hash_BK, codes_BK.astype(jnp.uint32) + 1, jnp)
    return hash_BK, _logits(hash_BK, _SIZES[level], jnp)


_REQUESTS = np.array([3, 1_000_003, 77, 5], np.uint32)
_DECODER = HashLists(jnp.asarray(_REQUESTS))
_ALLOWED = np.ones((4, len(_CODES)), bool)
_ALLOWED[1, [2, 3]] = False
# One request has fewer items than places, one has none.
_ALLOWED[2] = False
_ALLOWED[2, [2, 5]] = True
_ALLOWED[3] = False


def _steps(request, items):
  """(log p of all codes, code taken) of every code of a list, float64."""
  state = np.uint32(request)
  for item in items:
    state = _mix(state, np.uint32(_BEGIN), np)
    for level, code in enumerate(_CODES[item]):
      logits = _logits(state, _SIZES[level], np).astype(np.float64)
      yield logits - np.log(np.exp(logits).sum()), code
      state = _mix(state, np.uint32(code + 1), np)


def _score(request, items):
  return sum(logp[code] for logp, code in _steps(request, items))


def _lists(allowed):
  """All lists: of items that share their codes the lowest id comes first."""
  items = [i for i in range(1, len(_CODES)) if allowed[i]]
  for found in itertools.permutations(items, min(_SIZE, len(items))):
    if 2 in items and 5 in found and 2 not in found[: found.index(5)]:
      continue
    yield found


@pytest.fixture(autouse=True, scope="module")
def _overflow_is_meant():
  with np.errstate(over="ignore"):
    yield


@functools.partial(jax.jit, static_argnums=(2, 3))
def _beams(decoder, trie, num_lists, masked, allowed):
  bits = pack(trie, allowed) if masked else None
  return beam_lists(decoder, trie, num_lists, _SIZE, bits)


@pytest.mark.parametrize("dense", [0, 2])
@pytest.mark.parametrize("masked", [True, False])
def test_a_wide_beam_is_the_enumeration_of_all_lists(dense, masked):
  trie = Trie.build(_CODES, _SIZES, dense_levels=dense)
  found = jax.device_get(_beams(_DECODER, trie, 130, masked, _ALLOWED))
  allowed = _ALLOWED if masked else np.ones_like(_ALLOWED)
  for b, request in enumerate(_REQUESTS):
    wanted = {
      (*items, *(0,) * (_SIZE - len(items))): _score(request, items)
      for items in _lists(allowed[b])
      if items
    }
    there = found.scores_BK[b] > -np.inf
    lists = [tuple(ids) for ids in found.ids_BKJ[b][there].tolist()]
    assert len(lists) == len(set(lists)) and set(lists) == set(wanted)
    scores = found.scores_BK[b][there]
    np.testing.assert_allclose(
      scores, [wanted[ids] for ids in lists], rtol=1e-5, atol=1e-5
    )
    assert (np.diff(scores) <= 0).all()
    assert not found.ids_BKJ[b][~there].any()
    for k, ids in enumerate(lists):
      for j, item in enumerate(ids):
        if item:
          np.testing.assert_allclose(
            found.up_to_BKJ[b, k, j], _score(request, ids[: j + 1]), rtol=1e-4
          )
          assert (found.codes_BKJM[b, k, j] == _CODES[item]).all()
        else:
          assert found.up_to_BKJ[b, k, j] == -np.inf


def _greedy(request, allowed):
  """Code by code the best that an allowed item of no place before has."""
  left, found = [i for i in range(1, len(_CODES)) if allowed[i]], []
  for _ in range(min(_SIZE, len(left))):
    below = left
    for level in range(2):
      place = len(_SIZES) * len(found) + level
      # A step's probabilities do not depend on what is taken there.
      *_, (logp, _) = itertools.islice(
        _steps(request, [*found, below[0]]), place + 1
      )
      codes = {int(_CODES[i, level]) for i in below}
      best = max(sorted(codes), key=lambda code, p=logp: p[code])
      below = [i for i in below if _CODES[i, level] == best]
    found.append(below[0])
    left = [i for i in left if i != below[0]]
  return found + [0] * (_SIZE - len(found))


def test_one_beam_is_greedy():
  trie = Trie.build(_CODES, _SIZES)
  found = jax.device_get(_beams(_DECODER, trie, 1, True, _ALLOWED))
  for b, request in enumerate(_REQUESTS):
    assert found.ids_BKJ[b, 0].tolist() == _greedy(request, _ALLOWED[b])


def _chance(request, items, allowed, temperature):
  """Of drawing a list: codes are drawn among those that can go on."""
  chance, place = 1.0, 0
  steps = list(_steps(request, items))
  for j, item in enumerate(items):
    below = [i for i in range(1, len(_CODES)) if allowed[i]]
    below = [i for i in below if i not in items[:j]]
    for level in range(2):
      codes = sorted({int(_CODES[i, level]) for i in below})
      weights = np.exp(steps[place][0] / temperature[level])
      code = _CODES[item, level]
      chance *= weights[code] / weights[codes].sum()
      below = [i for i in below if _CODES[i, level] == code]
      place += 1
  return chance


@pytest.mark.slow
def test_draws_follow_the_probabilities_of_what_is_possible():
  trie, count, temperature = Trie.build(_CODES, _SIZES), 3000, (4.0, 2.0)
  keys = jax.random.split(jax.random.key(0), len(_REQUESTS))

  @jax.jit
  def run(keys, rows):
    decoder = HashLists(jnp.asarray(_REQUESTS)[rows])
    return sample_lists(
      decoder, trie, keys[rows], count, _SIZE, temperature=temperature,
      allowed=pack(trie, jnp.asarray(_ALLOWED)[rows]),
    )  # fmt: skip

  found = jax.device_get(run(keys, np.arange(4)))
  for b, request in enumerate(_REQUESTS[:3]):
    lists = [tuple(i for i in ids if i) for ids in found.ids_BKJ[b].tolist()]
    possible = {items: 0 for items in _lists(_ALLOWED[b])}
    assert set(lists) <= set(possible)
    chances = {
      items: _chance(request, items, _ALLOWED[b], temperature)
      for items in possible
    }
    assert sum(chances.values()) == pytest.approx(1)
    distance = sum(
      abs(lists.count(items) / count - chance)
      for items, chance in chances.items()
    )
    # Its expectation is below sqrt(2 n / (pi count)), n the lists.
    assert distance < 2 * np.sqrt(2 * len(chances) / np.pi / count)
    np.testing.assert_allclose(
      found.scores_BK[b][:50],
      [_score(request, items) for items in lists[:50]],
      rtol=1e-4,
    )
  # A request's draws are its own.
  alone = jax.device_get(run(keys, np.array([1, 3])))
  np.testing.assert_array_equal(alone.ids_BKJ[0], found.ids_BKJ[1])
  assert not alone.ids_BKJ[1].any() and (alone.scores_BK[1] == -np.inf).all()


def test_options_outside_their_range_are_refused():
  trie = Trie.build(_CODES, _SIZES)
  keys = jax.random.split(jax.random.key(0), len(_REQUESTS))
  with pytest.raises(ValueError, match="0 lists of 3 items"):
    beam_lists(_DECODER, trie, 0, 3)
  with pytest.raises(ValueError, match="top_p is 0.0"):
    sample_lists(_DECODER, trie, keys, 2, 3, top_p=0.0)
  with pytest.raises(ValueError, match="temperature is -1.0"):
    sample_lists(_DECODER, trie, keys, 2, 3, temperature=-1.0)
