# SPDX-License-Identifier: Apache-2.0
"""The retriever of models that generate: shapes, padding, masks, strategies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.evaluation.next_item import _check_results
from genrec_jax.retrieval.generative import (
  Beam,
  BestFirst,
  Exact,
  Generative,
  PrefixBackOff,
  PrefixMatch,
)
from genrec_jax.retrieval.strategy import SearchItems
from tests.decoding import cases

_BATCH = 4


def _search(strategy, case, widens=False):
  cold = jnp.zeros(len(case.codes), bool)

  def decoding(strategy):
    @jax.jit
    def decode(batch, items, allowed):
      decoder = cases.HashDecoder(batch["request"], case.decoder.level_sizes)
      return strategy(decoder, items, allowed)

    return decode

  def request_batch(requests):
    # A request is known by its first item.
    first = [record["item"][0] for record in requests.history]
    return {"request": jnp.asarray(np.array(first, np.uint32))}

  items = SearchItems(case.trie, cold)
  return Generative(
    decoding(strategy),
    request_batch,
    items,
    _BATCH,
    strategy.num_results,
    functools.cache(lambda n: decoding(strategy.widened(n)))
    if widens
    else None,
  )


def _requests(count):
  record = {"user": np.array(0, np.int32)}
  return make_requests(
    [
      ({**record, "item": np.array([i + 3, 1], np.int32)}, 1)
      for i in range(count)
    ]
  )


def _case(count):
  case = cases.make(5, 0, batch=count)
  first = jnp.asarray(np.arange(3, 3 + count, dtype=np.uint32))
  decoder = cases.HashDecoder(first, case.decoder.level_sizes)
  return cases.Case(case.codes, case.live, case.trie, decoder, case.allowed)


@pytest.mark.slow
@pytest.mark.parametrize(
  "strategy", [Beam(40), Exact(14, chunk=4), BestFirst(14, 64, 4)]
)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_answers_are_the_best_items_whatever_the_batch_is_filled_with(
  strategy, count
):
  case = _case(count)
  search = _search(strategy, case)
  for allowed in (None, case.allowed):
    mask = None if allowed is None else ItemMask.of(allowed)
    ids, scores, aux = search(_requests(count), 14, mask)
    assert ids.shape == scores.shape == (count, 14)
    cases.assert_best(case, ids, scores, aux["codes"], case.scores(allowed))


def test_more_places_than_beams_stay_empty():
  case = _case(2)
  ids, scores, aux = _search(Beam(3), case)(_requests(2), 10)
  assert ids.shape == (2, 10) and aux["codes"].shape == (2, 10, 3)
  assert not ids[:, 3:].any() and (scores[:, 3:] == -np.inf).all()


@pytest.mark.parametrize(
  ("strategy", "k"),
  [
    (Beam(3), 14),
    pytest.param(Exact(3, chunk=4), 14, marks=pytest.mark.slow),
    # A budget that ends before three items are found.
    (BestFirst(3, budget=1, width=1), 3),
    pytest.param(PrefixMatch(3, depth=2), 14, marks=pytest.mark.slow),
  ],
)
def test_a_search_fills_the_places_that_can_be_filled(strategy, k):
  case = _case(2)
  mask = ItemMask.of(case.allowed)
  search = _search(strategy, case, widens=True)
  short = _search(strategy, case)
  for allowed, own in ((None, None), (case.allowed, mask)):
    expected = case.scores(allowed)
    possible = np.minimum(k, np.isfinite(expected).sum(axis=1))
    assert possible.min() < possible.max() or allowed is None
    ids, scores, aux = search(_requests(2), k, own)
    assert ((ids > 0).sum(axis=1) == possible).all()
    if isinstance(strategy, Beam | Exact):
      cases.assert_best(case, ids, scores, aux["codes"], expected)
  narrow = short(_requests(2), k)[0]
  assert ((narrow > 0).sum(axis=1) < np.isfinite(case.scores()).sum(1)).all()


def test_a_list_does_not_depend_on_who_else_is_asked_for():
  case = _case(2)
  live = np.flatnonzero(case.live)
  full, other = live[:3], live[:4][::-1]

  def answer(rows):
    ids = np.array(rows, np.int32)
    scores = np.where(ids > 0, -ids.astype(np.float32), -np.inf)
    return ids, scores, np.zeros((*ids.shape, 3), np.int32)

  def narrow(batch, items, allowed):
    return answer([full, [live[0], 0, 0], full, full])

  search = dataclasses.replace(
    _search(Beam(3), case),
    decode_fn=narrow,
    widened=lambda n: lambda batch, items, allowed: answer([other] * _BATCH),
  )
  ids, scores, _ = search(_requests(2), 3)
  np.testing.assert_array_equal(ids, [full, other[:3]])
  np.testing.assert_array_equal(scores, -ids.astype(np.float32))


def test_fewer_places_than_beams_are_the_first():
  case = _case(2)
  search = _search(Beam(8), case)
  many, few = search(_requests(2), 8)[0], search(_requests(2), 2)[0]
  np.testing.assert_array_equal(many[:, :2], few)


@pytest.mark.slow
def test_prefix_matching_without_unseen_items_is_the_beam():
  case = _case(3)
  beam = _search(Beam(6), case)(_requests(3), 6)
  match = _search(PrefixMatch(6, depth=2), case)(_requests(3), 6)
  np.testing.assert_array_equal(beam[0], match[0])


@pytest.mark.parametrize("strategy", [Beam(10), Exact(10), PrefixMatch(10)])
def test_a_search_of_too_few_items_is_not_measured(strategy):
  _check_results(strategy.num_results, (1, 9))
  with pytest.raises(ValueError, match="returns 10 items.*need 11"):
    _check_results(strategy.num_results, (1, 10))


def test_a_batch_too_large_is_an_error():
  case = _case(3)
  with pytest.raises(ValueError, match="5 requests do not fit a batch of 4"):
    _search(Beam(3), case)(_requests(5), 3)


def test_a_back_off_says_how_deep_each_item_matched():
  case = _case(2)
  search = _search(PrefixBackOff(2, 14), case)
  ids, _, aux = search(_requests(2), 16, ItemMask.of(case.allowed))
  depth = aux["matched_depth"]
  assert depth.shape == ids.shape == (2, 16)
  assert ((depth >= 0) == (ids > 0)).all() and (ids[:, 14:] == 0).all()
  # Deepest first; a beam's own items share all their codes with it.
  for row in range(2):
    there = depth[row][ids[row] > 0]
    assert (np.diff(there) <= 0).all() and (there[:1] == 3).all()
  assert (ids[:, 0] > 0).any()


def test_what_cannot_be_is_refused_before_anything_is_searched():
  for kind, name, value in (
    (Exact, "chunk", 0),
    (BestFirst, "budget", 0),
    (BestFirst, "width", 0),
    (PrefixMatch, "depth", 0),
    (PrefixMatch, "share", 1.5),
    (PrefixMatch, "share", float("nan")),
    (PrefixBackOff, "num_results", 0),
    (PrefixBackOff, "num_beams", -1),
  ):
    with pytest.raises(ValueError, match=f"config.retrieval.{name}={value!r} "):
      kind(**{name: value})
