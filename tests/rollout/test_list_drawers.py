# SPDX-License-Identifier: Apache-2.0
"""Lists as samples: the best there are, and their probabilities."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.decoding.trie import Trie
from genrec_jax.rollout import BestLists, SampledLists
from tests.decoding.test_lists import _CODES, _SIZES, HashLists, _score, _steps
from tests.models.test_list_seq2seq import _system
from tests.rollout import cases

_REQUESTS = np.array([3, 1_000_003, 77], np.uint32)
_TRIE = Trie.build(_CODES, _SIZES)
_ITEMS = [*range(1, len(_CODES))]


@pytest.fixture(autouse=True)
def _overflow_is_meant():
  with np.errstate(over="ignore"):
    yield


class _States:
  """A layout whose requests are hashes."""

  def request_batch(self, requests):
    return {"request_G": _REQUESTS[: len(requests)]}


def _ask(*arguments, method):
  if method == "begin_lists":
    batch, *sizes = arguments
    return HashLists(batch["request_G"]).begin_lists(*sizes)
  model = HashLists(jnp.asarray(_REQUESTS))
  return {"next_item": model.next_item, "step": model.step}[method](*arguments)


def _ask_of(params):
  del params
  return _ask


def _drawn(drawer, **options):
  rollout = dataclasses.replace(
    cases.online(3, drawer=drawer, **options),
    layout=_States(),
    constants={"trie": _TRIE, "reward": None},
  )
  requests = rollout.request_batch(0)

  @jax.jit
  def draw(requests):
    found = rollout.draw(
      _ask_of, {}, rollout.hold({}), requests, rollout.constants, cases.KEY, 0
    )
    samples = rollout.score(_ask, requests, found, rollout.constants)
    watched = rollout.watch(_ask, requests, rollout.constants, cases.KEY)
    return found, samples, watched, rollout.faults(found)

  found, samples, watched, faults = draw(requests)
  found, watched, faults = jax.device_get((found, watched, faults))
  return requests, found, samples, watched, faults


def test_beams_are_the_best_lists_and_have_their_probabilities():
  requests, drawn, samples, watched, faults = _drawn(BestLists(150, 2))
  assert drawn["item_GKN"].shape == (3, 150, 2)
  for g, request in enumerate(_REQUESTS):
    lists = [
      items
      for items in itertools.permutations(_ITEMS, 2)
      # Of items that share all codes the lowest id comes first.
      if not (5 in items and 2 not in items[: items.index(5)])
    ]
    wanted = sorted((-_score(request, items), items) for items in lists)
    count = len(wanted)
    assert drawn["where_GK"][g].sum() == count
    found = samples.policy_GKT[g, :count].sum(axis=1)
    np.testing.assert_allclose(found, [-s for s, _ in wanted], atol=1e-4)
    mine = {*map(tuple, drawn["item_GKN"][g, :count].tolist())}
    assert mine == {*lists}
    hit = (drawn["item_GKN"][g] == requests["target_G"][g]).any(axis=1)
    np.testing.assert_array_equal(drawn["reward_GK"][g, :count], hit[:count])
    # Of all six pairs of codes the first item may have, five are an item's.
    assert watched["legal_G"][g] == pytest.approx(5 / 6)
  np.testing.assert_array_equal(
    samples.where_GKT, np.repeat(drawn["where_GK"][..., None], 4, axis=2)
  )
  nats_GKT = watched["nats_GKT"]
  np.testing.assert_allclose(nats_GKT, -samples.policy_GKT, atol=1e-5)
  np.testing.assert_array_equal(samples.policy_GKT, samples.old_GKT)
  assert not any(int(x) for x in faults.values())


def test_lists_are_drawn_each_for_itself_and_end_where_items_do():
  _, drawn, samples, *_ = _drawn(SampledLists(8, 7))
  items_GKN = drawn["item_GKN"]
  assert (np.sort(items_GKN, axis=2) == [0, *_ITEMS]).all()
  assert (items_GKN[..., -1] == 0).all()
  assert len({*map(tuple, items_GKN[0].tolist())}) > 1
  there = np.repeat(items_GKN > 0, 2, axis=2)
  np.testing.assert_array_equal(samples.where_GKT, there)
  for g, k in np.ndindex(3, 8):
    steps = _steps(_REQUESTS[g], items_GKN[g, k, :-1])
    wanted = [logp[code] for logp, code in steps]
    np.testing.assert_allclose(samples.policy_GKT[g, k, :12], wanted, atol=1e-4)


def test_what_writes_no_such_lists_is_refused():
  with pytest.raises(ValueError, match="lacks .*begin_lists"):
    BestLists(4, 2).check_system(cases.Bandit())
  with pytest.raises(ValueError, match="list_size=4 is more than the 3 items"):
    BestLists(4, 4).check_system(_system())
  BestLists(4, 3).check_system(_system())
  with pytest.raises(ValueError, match="list_size=0 must be at least 1"):
    SampledLists(4, 0)
  with pytest.raises(ValueError, match="over_children is of single items"):
    codes = jnp.zeros((1, 1, 2), jnp.int32)
    BestLists(4, 2).log_probs(HashLists(None), codes, _SIZES)
