# SPDX-License-Identifier: Apache-2.0
"""Lists that a model makes itself, against a fresh prompt for every place."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.ranking.assumed_actions import RULES
from genrec_jax.ranking.assumed_lists import ListMaker, assumed_list
from genrec_jax.ranking.slates import greedy
from genrec_jax.ranking.utility import ValueFunction
from tests.data.grammars_by_hand import GRAMMARS
from tests.data.layouts.parts_by_hand import ModelByHand
from tests.models import typed_rows as rows
from tests.models.compiled import apply

_WEIGHTS = (1.0, -2.0)
# All are placed: one program serves every test of a rule.
_COUNT = _PLACES = 3


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _lists(system, params, batch, places, rule):
  def ask(method, *args):
    return system.apply(params, *args, method=method)

  return assumed_list(
    ask, batch, jnp.array(_WEIGHTS), places, RULES[rule], jax.random.key(7)
  )


_FORMS = ("full", pytest.param("a_token_per_task", marks=pytest.mark.slow))


@pytest.fixture(scope="module", params=_FORMS)
def form(request):
  """A grammar, a model of it, its parameters, prompts and candidates."""
  grammar = GRAMMARS[request.param]
  system = rows.model(grammar, tied=False)
  rng = np.random.default_rng(8)
  prompts = [rows.prompt(grammar, rng, count) for count in (0, 3)]
  token_NT = rows.asked_tokens(grammar, rng, _COUNT)
  params = rows.random_params(system, _asked(grammar, prompts, token_NT))
  return grammar, system, params, prompts, token_NT


def _asked(grammar, prompts, token_NT):
  batch = rows.packed(grammar, [[p] for p in prompts])
  # What is placed happens when it is asked for, as the candidates do.
  count = len(prompts)
  return {
    **batch,
    "candidate_BN": jnp.ones((count, len(token_NT)), jnp.int32),
    "candidate_token_BNT": jnp.asarray(np.stack([token_NT] * count)),
  }


def _scores(system, params, grammar, prompt, token_NT):
  batch = _asked(grammar, [prompt] * 2, token_NT)
  logits = np.asarray(apply(system, params, batch, method="score")[0], float)
  return 1 / (1 + np.exp(-logits))


def _action(grammar, assumed_AC):
  """Tokens of an action that was assumed whole."""
  starts = [grammar.types[kind].start for kind in grammar.group("action")]
  assert {*np.unique(assumed_AC).tolist()} == {0.0, 1.0}
  return [
    s + int(np.argmax(w)) for s, w in zip(starts, assumed_AC, strict=True)
  ]


@pytest.mark.parametrize("rule", ["likely", "sampled", "unknown"])
def test_a_place_is_the_best_behind_a_fresh_prompt_with_those_before(
  form, rule
):
  grammar, system, params, prompts, token_NT = form
  batch = _asked(grammar, prompts, token_NT)
  found = jax.device_get(_lists(system, params, batch, _PLACES, rule))
  for row, prompt in enumerate(prompts):
    left, behind = [*range(_COUNT)], [*prompt]
    for place in range(_PLACES):
      p_NT = _scores(system, params, grammar, behind, token_NT)
      value_N = p_NT @ np.array(_WEIGHTS)
      best = max(left, key=lambda n: value_N[n])
      chosen = found.order_BK[row, place]
      assert value_N[chosen] == pytest.approx(value_N[best], abs=1e-4)
      assert chosen in left
      np.testing.assert_allclose(
        found.probabilities_BKT[row, place], p_NT[chosen], atol=3e-4
      )
      left.remove(chosen)
      assumed_AC = found.assumed_BKAC[row, place]
      action = _action(grammar, assumed_AC)
      assert (assumed_AC[:, 0] > 0).all() == (rule == "unknown")
      behind += [*map(int, token_NT[chosen]), *action]


def test_likely_and_expected_are_those_of_the_probabilities(form):
  """Behind the prompt alone, where `score` says what is likely."""
  grammar, system, params, prompts, token_NT = form
  batch = _asked(grammar, prompts, token_NT)
  both = {
    rule: jax.device_get(_lists(system, params, batch, _PLACES, rule))
    for rule in ("likely", "expected")
  }
  for row in range(2):
    chosen = both["likely"].order_BK[row, 0]
    assert chosen == both["expected"].order_BK[row, 0]
    p_T = _scores(system, params, grammar, prompts[row], token_NT)[chosen]
    expected_AC = both["expected"].assumed_BKAC[row, 0]
    np.testing.assert_allclose(expected_AC.sum(axis=1), 1, atol=1e-5)
    assert (expected_AC[:, 0] == 0).all()
    if grammar.combined:
      # Of a token of all tasks the masks: their sums are the tasks.
      masks = np.arange(4)
      for task in range(2):
        mine = expected_AC[0, 1:][masks >> task & 1 == 1].sum()
        assert mine == pytest.approx(p_T[task], abs=3e-4)
      best = 1 + int(np.argmax(expected_AC[0, 1:]))
      assert both["likely"].assumed_BKAC[row, 0, 0, best] == 1
    else:
      assert expected_AC[0, 2] == pytest.approx(p_T[0], abs=3e-4)
      likely = 2 if p_T[0] > 0.5 else 1
      assert both["likely"].assumed_BKAC[row, 0, 0, likely] == 1


def test_expected_reads_the_mean_of_the_actions_vectors():
  """As the vector of what is not known, which stands there, would be it."""
  grammar = GRAMMARS["full"]
  system = rows.model(grammar, tied=False)
  rng = np.random.default_rng(9)
  prompts = [rows.prompt(grammar, rng, 0)] * 2
  token_NT = rows.asked_tokens(grammar, rng, _COUNT)
  batch = _asked(grammar, prompts, token_NT)
  params = rows.random_params(system, batch)
  expected = jax.device_get(_lists(system, params, batch, _PLACES, "expected"))
  (kind,) = grammar.group("action")
  one = grammar.types[kind]
  table_VD = params["params"]["tokens"]["embedding"]
  mean_D = expected.assumed_BKAC[0, 0, 0] @ np.asarray(
    table_VD[one.start : one.start + one.size]
  )
  changed = jax.tree.map(lambda x: x, params)
  changed["params"]["tokens"]["embedding"] = table_VD.at[one.start].set(mean_D)
  behind = [
    *prompts[0],
    *map(int, token_NT[expected.order_BK[0, 0]]),
    one.start,
  ]
  p_NT = _scores(system, changed, grammar, behind, token_NT)
  np.testing.assert_allclose(
    expected.probabilities_BKT[0, 1],
    p_NT[expected.order_BK[0, 1]],
    atol=3e-4,
  )


@pytest.mark.parametrize("rule", RULES)
def test_without_satiation_a_list_is_greedy(form, rule):
  """A model to which nothing but the candidate's last token matters."""
  grammar, system, params, prompts, token_NT = form
  deaf = jax.tree_util.tree_map_with_path(
    lambda path, x: x * 0 if "value" in jax.tree_util.keystr(path) else x,
    params,
  )
  batch = _asked(grammar, prompts, token_NT)
  found = jax.device_get(_lists(system, deaf, batch, _PLACES, rule))
  for row, prompt in enumerate(prompts):
    p_NT = _scores(system, deaf, grammar, prompt, token_NT)
    value_N = p_NT @ np.array(_WEIGHTS)
    listed = value_N[found.order_BK[row]]
    np.testing.assert_allclose(
      listed, value_N[greedy(value_N, _COUNT)], atol=1e-4
    )
    assert {*found.order_BK[row].tolist()} == {*range(_COUNT)}


def test_a_list_is_short_where_candidates_are_few(form):
  grammar, system, params, prompts, token_NT = form
  batch = _asked(grammar, prompts, token_NT)
  few = batch["candidate_BN"].at[1, 1:].set(0)
  batch = {**batch, "candidate_BN": few}
  found = jax.device_get(_lists(system, params, batch, _PLACES, "likely"))
  assert found.order_BK[1].tolist() == [0, -1, -1]
  assert not found.probabilities_BKT[1, 1:].any()
  assert found.order_BK[0].min() >= 0


def test_a_list_maker_says_what_it_lacks():
  value = ValueFunction(("click",), (1.0,))
  with pytest.raises(ValueError, match="config.system.*lacks.*open_list"):
    ListMaker.of(ModelByHand(), {}, None, value, 3)
  system = rows.model(GRAMMARS["full"])

  class Layout:
    num_candidates, feedback = 1, None

    def impression_batch(self, impressions):
      raise NotImplementedError

  with pytest.raises(ValueError, match="rule='lickely'.*'likely'"):
    ListMaker.of(system, {}, Layout(), value, 3, "lickely")
  with pytest.raises(ValueError, match="places=0 must be at least 1"):
    key = jax.random.key(0)
    assumed_list(print, {}, jnp.zeros(1), 0, RULES["likely"], key)
