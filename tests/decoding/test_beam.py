# SPDX-License-Identifier: Apache-2.0
"""A wide beam is an enumeration; a narrow one never leaves the catalogue."""

import dataclasses
import functools

from hypothesis import given, settings, strategies as st
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.item_bits import pack
from genrec_jax.decoding.trie import Trie
from tests.decoding import cases

_search = jax.jit(beam_search, static_argnums=2)
_seeds = st.integers(0, 100_000)


@functools.partial(jax.jit, static_argnums=2)
def _masked(decoder, trie, num_beams, allowed_BV1):
  return beam_search(decoder, trie, num_beams, pack(trie, allowed_BV1))


@settings(max_examples=25)
@given(seed=_seeds)
@pytest.mark.parametrize(
  "shape",
  [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))],
)
def test_a_beam_of_all_leaves_is_the_enumeration(seed, shape):
  case = cases.make(seed, shape)
  # More places than leaves: some are empty, and items share leaves.
  if shape == 0:
    found = _search(case.decoder, case.trie, 40)
    cases.assert_best(case, *found, case.scores())
  found = _masked(case.decoder, case.trie, 40, case.allowed)
  cases.assert_best(case, *found, case.scores(case.allowed))


@pytest.mark.slow
@settings(max_examples=12)
@given(seed=_seeds)
@pytest.mark.parametrize(
  "num_beams", [3, pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_narrow_beam_returns_allowed_items_with_their_scores(seed, num_beams):
  case = cases.make(seed, 0)
  ids, scores, codes = map(
    np.asarray, _masked(case.decoder, case.trie, num_beams, case.allowed)
  )
  expected = case.scores(case.allowed)
  for b in range(len(ids)):
    there = ids[b] > 0
    # A beam of any width finds an item where one is allowed, and no other.
    assert there[0] == (expected[b] > -np.inf).any()
    assert (expected[b, ids[b][there]] > -np.inf).all()
    np.testing.assert_allclose(
      scores[b][there], expected[b, ids[b][there]], rtol=2e-6, atol=2e-6
    )
    np.testing.assert_array_equal(codes[b][there], case.codes[ids[b][there]])
    assert (scores[b][~there] == -np.inf).all()


@pytest.mark.slow
@settings(max_examples=5)
@given(seed=_seeds)
def test_requests_do_not_meet(seed):
  case = cases.make(seed, 0)
  together = _masked(case.decoder, case.trie, 4, case.allowed)
  for b in range(3):
    one = cases.HashDecoder(
      case.decoder.request_B[b : b + 1], case.trie.level_sizes
    )
    alone = _masked(one, case.trie, 4, case.allowed[b : b + 1])
    for x, y in zip(together, alone, strict=True):
      np.testing.assert_array_equal(x[b], y[0])


@pytest.mark.slow
def test_the_dense_and_the_sparse_form_agree():
  case = cases.make(2, 0)
  results = [
    _masked(
      case.decoder,
      Trie.build(
        case.codes, case.trie.level_sizes, case.live, dense_levels=dense
      ),
      5,
      case.allowed,
    )
    for dense in (0, 3)
  ]
  filled_up = _masked(case.decoder, case.trie, 5, case.allowed)
  for x, y, z in zip(*results, filled_up, strict=True):
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(x, z)


@pytest.mark.slow
def test_a_batch_split_over_devices_gives_the_same_and_calls_nobody():
  case = cases.make(5, 0, batch=8)
  expected = _masked(case.decoder, case.trie, 6, case.allowed)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.sharding.NamedSharding(mesh, P("data"))
  whole = jax.sharding.NamedSharding(mesh, P())
  decoder = jax.device_put(case.decoder, rows)
  allowed = jax.device_put(case.allowed, rows)
  trie = jax.device_put(case.trie, whole)
  program = _masked.lower(decoder, trie, 6, allowed).compile()
  for x, y in zip(expected, program(decoder, trie, allowed), strict=True):
    np.testing.assert_array_equal(x, y)
    assert y.sharding.spec[0] == "data"
  text = program.as_text()
  for sign in ("callback", "outfeed", "infeed", "SendToHost", "host_compute"):
    assert sign not in text


def test_a_model_of_other_levels_is_refused():
  case = cases.make(1, 0)
  other = cases.HashDecoder(case.decoder.request_B, (3, 5, 2))
  with pytest.raises(ValueError, match="5 logits at level 1"):
    _search(other, case.trie, 2)
  with pytest.raises(ValueError, match="at least 1"):
    _search(case.decoder, case.trie, 0)


@pytest.mark.slow
def test_a_model_that_excludes_codes_returns_no_such_item():
  case = cases.make(3, 0)

  class Excluding(cases.HashDecoder):
    def step(self, cache, level, codes_BK, parents_BK):
      cache, logits = super().step(cache, level, codes_BK, parents_BK)
      return cache, logits.at[1, :, 0].set(-jnp.inf)

  excluding = Excluding(case.decoder.request_B, case.trie.level_sizes)
  ids, scores, _ = jax.jit(lambda trie: beam_search(excluding, trie, 30))(
    case.trie
  )
  assert case.live.sum() > 5
  found = set(np.asarray(ids[1]).tolist()) - {0}
  possible = case.live & (case.codes[:, 1:] > 0).all(axis=1)
  assert found == set(np.flatnonzero(possible).tolist()) and found
  assert (scores[1][ids[1] == 0] == -np.inf).all()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Broken:
  """A decoder one of whose logits of a level is NaN for the last request."""

  whole: cases.HashDecoder
  level: int = dataclasses.field(metadata={"static": True})

  def start(self):
    cache, logits = self.whole.start()
    return cache, self._broken(logits, 0)

  def step(self, cache, level, codes_BK, parents_BK):
    cache, logits = self.whole.step(cache, level, codes_BK, parents_BK)
    return cache, self._broken(logits, level)

  def _broken(self, logits, level):
    return logits.at[-1].set(jnp.nan) if level == self.level else logits


@pytest.mark.parametrize("level", [0, 1])
def test_logits_that_are_no_numbers_show_in_the_scores(level):
  case = cases.make(0, 0)
  broken = _Broken(case.decoder, level)
  _, scores, _ = _search(broken, case.trie, 40)
  assert np.isposinf(scores[-1]).any()
  assert not np.isposinf(scores[:-1]).any()
