# SPDX-License-Identifier: Apache-2.0
"""A model that makes a list of what a retriever finds, as one search."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.loaded_model import LoadedModel
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.ranking.list_stage import ListStage
from genrec_jax.ranking.two_stage import TwoStage
from genrec_jax.ranking.utility import ValueFunction
from tests.data.grammars_by_hand import GRAMMARS
from tests.data.layouts.parts_by_hand import ModelByHand
from tests.models import typed_rows as rows

_GRAMMAR = GRAMMARS["full"]
_TASKS = ("click", "like")
_ITEMS = 5
# Of the third request nothing is found, of the second one item.
_FOUND = np.array([[4, 2, 5], [3, 0, 0], [0, 0, 0]], np.int32)
_RNG = np.random.default_rng(0)
_TOKENS = rows.asked_tokens(_GRAMMAR, _RNG, _ITEMS + 1)
_PROMPTS = [rows.prompt(_GRAMMAR, _RNG, count) for count in (0, 3, 1)]


class _Histories(Histories):
  """Of which only the name is asked."""

  manifest = types.SimpleNamespace(fingerprint="f", num_items=_ITEMS)
  directory = "data"

  def __init__(self):
    pass


class _Layout:
  """The prompt of a user, and the tokens of items."""

  num_candidates, feedback = 3, Feedback(_TASKS)

  def impression_batch(self, impressions):
    item_BN = impressions.candidates
    prompts = [_PROMPTS[user] for user in impressions.user]
    return {
      **rows.packed(_GRAMMAR, [[prompt] for prompt in prompts]),
      "candidate_BN": jnp.asarray(item_BN),
      "candidate_token_BNT": jnp.asarray(_TOKENS[item_BN]),
    }


@dataclasses.dataclass
class _Ranker:
  scorer: CandidateScorer
  histories = _Histories()

  def value_of(self, weights):
    return ValueFunction.of(_TASKS, weights)


def _retrieve(requests, k, allowed):
  assert k == 3 and allowed is None
  return _FOUND[requests.user], None, {"lists": {}}


def _requests():
  zeros = np.zeros(3, np.int32)
  history = [
    {"user": np.array(user, np.int32), "item": zeros[:0]} for user in range(3)
  ]
  return Requests(np.arange(3), zeros, history, zeros, zeros)


@pytest.fixture(scope="module")
def params():
  system = rows.model(_GRAMMAR, tied=False)
  batch = rows.packed(_GRAMMAR, [[p] for p in _PROMPTS])
  return rows.random_params(system, batch)["params"]


def _stage(params, rule):
  system = rows.model(_GRAMMAR, tied=False)
  ranker = _Ranker(CandidateScorer.of(system, params, _Layout(), 3))
  weights = "click=1,like=-2"
  return ListStage.ruled(rule, _retrieve, _Histories(), ranker, 3, weights)


def test_a_list_begins_with_the_best_and_goes_on_behind_what_is_assumed(params):
  by_value, _, said = _stage(params, "")(_requests(), 3)
  ids, values, aux = _stage(params, "likely")(_requests(), 3)
  assert ids.shape == values.shape == (3, 3)
  np.testing.assert_array_equal(ids[:, 0], by_value[:, 0])
  for row in range(3):
    # What was found, each once, and nothing behind it.
    assert sorted(ids[row]) == sorted(_FOUND[row])
    count = np.count_nonzero(_FOUND[row])
    assert not ids[row, count:].any()
    assert (values[row, count:] == -np.inf).all()
    p_KT = aux["probabilities"][row, :count]
    by_hand = p_KT[:, 0] - 2 * p_KT[:, 1]
    np.testing.assert_allclose(values[row, :count], by_hand, atol=1e-6)
  np.testing.assert_allclose(
    aux["probabilities"][:2, 0], said["probabilities"][:2, 0], atol=3e-4
  )
  # Behind another item the same candidates are worth something else.
  alone = dict(zip(by_value[0].tolist(), said["probabilities"][0], strict=True))
  moved = [
    np.abs(aux["probabilities"][0, place] - alone[ids[0, place]]).max()
    for place in (1, 2)
  ]
  assert min(moved) > 1e-3
  np.testing.assert_array_equal(aux["candidates"], _FOUND)
  assert aux["retrieved"] == {"lists": {}}


def test_where_nothing_is_read_of_a_list_it_is_by_value(params):
  deaf = jax.tree_util.tree_map_with_path(
    lambda path, x: x * 0 if "value" in jax.tree_util.keystr(path) else x,
    params,
  )
  by_value, worth, _ = _stage(deaf, "")(_requests(), 2)
  ids, values, _ = _stage(deaf, "unknown")(_requests(), 2)
  np.testing.assert_array_equal(ids, by_value)
  np.testing.assert_allclose(values, worth, atol=3e-4)


def test_what_makes_no_list_is_refused(params):
  assert type(_stage(params, "")) is TwoStage
  with pytest.raises(ValueError, match="assume='likly' is unknown.*'likely'"):
    _stage(params, "likly")
  plain = CandidateScorer(_Layout(), print, None, None, 3)
  asked = (_retrieve, _Histories())
  with pytest.raises(ValueError, match="leave assume out"):
    ListStage.ruled("likely", *asked, _Ranker(plain))
  model = LoadedModel(ModelByHand(), {}, print)
  other = dataclasses.replace(plain, loaded=model)
  with pytest.raises(ValueError, match="lacks .*open_list"):
    ListStage.ruled("likely", *asked, _Ranker(other))
