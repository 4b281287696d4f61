# SPDX-License-Identifier: Apache-2.0
"""A model of typed tokens: its softmaxes, its cache, its candidates."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core import finite, seams
from genrec_jax.core.types import Items
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.token_grammar import TokenGrammar
from genrec_jax.decoding.best_first import best_first_search
from genrec_jax.decoding.decoder import log_probs
from genrec_jax.decoding.lists import beam_lists
from genrec_jax.decoding.trie import Trie
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.models.token_baseline import TokenBaseline
from genrec_jax.objectives.typed import TypedCrossEntropy
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.retrieval.beam_lists import ListsOf
from genrec_jax.retrieval.generative import Beam, BestFirst, Exact
from genrec_jax.retrieval.strategy import BoundModel, SearchItems
from tests.data.grammars_by_hand import GRAMMARS
from tests.models import typed_rows as rows
from tests.models.compiled import apply

_KEY = jax.random.key(0)
_NOTHING = Items(9, lambda ids: ids)
_SLOW = pytest.mark.slow
_FORMS = ("full", pytest.param("a_token_per_task", marks=_SLOW))


def _log_softmax(z):
  z = np.asarray(z, np.float64)
  z = z - z.max()
  return z - np.log(np.exp(z).sum())


@pytest.fixture(scope="module", params=_FORMS)
def form(request):
  """A grammar, a model of it, its parameters, and a packed batch."""
  grammar = GRAMMARS[request.param]
  system = rows.model(grammar, tied=False)
  rng = np.random.default_rng(0)
  users = [rows.sequence(grammar, rng, 3) for _ in range(4)]
  batch = rows.packed(grammar, [users[:2], users[2:]])
  return grammar, system, rows.random_params(system, batch), batch, users


def _outputs(system, params, batch):
  return apply(system, params, batch, deterministic=True)


def test_it_is_what_training_search_ranking_and_lists_ask_for(form):
  _, system, *_ = form
  for seam in (
    *(seams.Model, seams.GrammarModel, seams.DecoderModel),
    *(seams.ScoreModel, seams.AssumingModel, seams.ListModel),
  ):
    seams.require(system, seam, "config.system")


def test_a_label_is_a_softmax_over_its_own_type(form):
  grammar, system, params, batch, _ = form
  outputs = _outputs(system, params, batch)
  table_VD = np.asarray(params["params"]["tokens"]["output"], np.float64)
  found = np.asarray(outputs.aux["label_log_p_BL"])
  asked = 0
  for row, place in np.argwhere(np.asarray(batch["label_BL"]) > 0):
    label = int(batch["label_BL"][row, place])
    kind = grammar.types[grammar.type_V[label]]
    h_D = np.asarray(outputs.hidden[row, place], np.float64)
    logits = table_VD[kind.start : kind.start + kind.size] @ h_D
    expected = _log_softmax(logits)[label - kind.start]
    assert found[row, place] == pytest.approx(expected, abs=2e-4), kind.name
    asked += 1
  assert asked > 40
  assert not found[np.asarray(batch["label_BL"]) == 0].any()
  kinds = sorted(map(int, outputs.aux["types"].values()))
  assert kinds == [*range(2, len(grammar.types))]


def test_the_loss_is_a_weighted_mean_and_parts_are_those_of_types(form):
  grammar, system, params, batch, _ = form
  outputs = _outputs(system, params, batch)
  rng = np.random.default_rng(1)
  weight_BL = rng.random(batch["label_BL"].shape).astype(np.float32)
  weight_BL *= np.asarray(batch["label_BL"]) > 0
  where_BL = rng.random(weight_BL.shape) < 0.8
  loss, parts = TypedCrossEntropy()(
    outputs,
    {**batch, "weight_BL": jnp.asarray(weight_BL)},
    rng=_KEY,
    items=_NOTHING,
    where=jnp.asarray(where_BL),
  )
  nll_BL = -np.asarray(outputs.aux["label_log_p_BL"], np.float64)
  kept_BL = weight_BL * where_BL
  assert float(loss) == pytest.approx((nll_BL * kept_BL).sum() / kept_BL.sum())
  for kind, one in enumerate(grammar.types[2:], start=2):
    mine_BL = kept_BL * (np.asarray(batch["label_type_BL"]) == kind)
    part = float(parts[one.name.replace(" ", "_")].compute())
    assert part == pytest.approx((nll_BL * mine_BL).sum() / mine_BL.sum())
  nothing, _ = TypedCrossEntropy()(
    outputs,
    {**batch, "weight_BL": jnp.zeros_like(batch["weight_BL"])},
    rng=_KEY,
    items=_NOTHING,
  )
  assert float(nothing) == 0


def test_what_counts_nothing_is_not_learned(form):
  """No gradient reaches the outputs of types of weight 0, others' is kept."""
  grammar, system, params, batch, _ = form
  silent = [*grammar.group("extra"), *grammar.group("context")]
  quiet_BL = jnp.isin(batch["label_type_BL"], jnp.array(silent))
  batch = {**batch, "weight_BL": jnp.where(quiet_BL, 0.0, batch["weight_BL"])}

  @jax.jit
  def gradient(params):
    def loss(params):
      outputs = system.apply(params, batch, deterministic=True)
      return TypedCrossEntropy()(outputs, batch, rng=_KEY, items=_NOTHING)[0]

    return jax.grad(loss)(params)

  output_VD = np.asarray(gradient(params)["params"]["tokens"]["output"])
  for kind, one in enumerate(grammar.types[2:], start=2):
    moved = np.abs(output_VD[one.start : one.start + one.size]).max()
    assert (moved == 0) == (kind in silent), one.name


def test_users_of_a_row_do_not_see_each_other_and_nobody_sees_ahead(form):
  grammar, system, params, batch, users = form
  found = np.asarray(_outputs(system, params, batch).aux["label_log_p_BL"])
  alone = rows.packed(grammar, [[users[1]], [users[3]]])
  apart = np.asarray(_outputs(system, params, alone).aux["label_log_p_BL"])
  for row, (first, second) in enumerate([users[:2], users[2:]]):
    mine = slice(len(first), len(first) + len(second))
    np.testing.assert_allclose(
      found[row, mine], apart[row, : len(second)], atol=2e-4
    )
  # Another token at a place changes what is asked from there on alone.
  place = len(users[0]) + 4
  kind = grammar.types[grammar.type_V[int(batch["token_BL"][0, place])]]
  other = kind.start + (users[1][4] - kind.start + 1) % kind.size
  changed = {
    **batch,
    "token_BL": batch["token_BL"].at[0, place].set(other),
  }
  after = np.asarray(_outputs(system, params, changed).aux["label_log_p_BL"])
  np.testing.assert_array_equal(after[0, :place], found[0, :place])
  np.testing.assert_array_equal(after[1], found[1])
  assert (after[0, place:] != found[0, place:]).sum() > 3


def _behind(grammar, prompts, tokens, actions):
  """Each prompt with one item's tokens and action behind it."""
  told = []
  for values in actions:
    kinds = grammar.group("action")
    starts = [grammar.types[kind].start for kind in kinds]
    told.append([int(s + v) for s, v in zip(starts, values, strict=True)])
  return [
    [[*prompt, *map(int, item), *action]]
    for prompt, item, action in zip(prompts, tokens, told, strict=True)
  ]


def _combinations(grammar):
  """Values of an action's tokens, by bit mask."""
  masks = range(2 ** len(grammar.actions))
  if grammar.combined:
    return [(1 + mask,) for mask in masks]
  return [
    tuple(1 + (mask >> bit & 1) for bit in range(len(grammar.actions)))
    for mask in masks
  ]


def _joint(log_p):
  """{values: log p of each token, row by row} -> P by bit mask, of those that
  are known."""
  found = []
  for values in log_p:
    p = 1.0
    for t in range(len(values)):
      same = {v[t]: log_p[v][t] for v in log_p if v[:t] == values[:t]}
      p *= np.exp(log_p[values][t]) / sum(np.exp(x) for x in same.values())
    found.append(p)
  return np.array(found)


def _marginals(joint_C, tasks):
  masks = np.arange(len(joint_C))
  return np.array([joint_C[masks >> t & 1 == 1].sum() for t in range(tasks)])


@pytest.mark.parametrize(
  "name",
  [
    "full",
    *(
      pytest.param(name, marks=_SLOW)
      for name in ("a_token_per_task", "extras_first", "plain", "times")
    ),
  ],
)
def test_decoding_and_scores_are_those_of_whole_rows(name):
  """Codes by `step` and actions by `score`, against a row with them in it."""
  grammar = GRAMMARS.get(name, GRAMMARS["full"])
  backbone = rows.hstu() if name == "times" else rows.causal(num_layers=2)
  system = rows.model(grammar, backbone)
  rng = np.random.default_rng(2)
  prompts = [rows.prompt(grammar, rng, count) for count in (0, 3)]
  requests = rows.packed(grammar, [[p] for p in prompts])
  params = rows.random_params(system, requests)
  token_BNT = np.stack([rows.asked_tokens(grammar, rng, 3) for _ in prompts])
  # By one action at a time: whole rows that hold it.
  whole = {}
  for n, values in itertools.product(range(3), _combinations(grammar)):
    batch = rows.packed(
      grammar, _behind(grammar, prompts, token_BNT[:, n], [values] * 2)
    )
    for row, prompt in enumerate(prompts):
      at_moment = rows.frozen_time(batch, len(prompt))
      log_p = apply(
        system, params, jax.tree.map(jnp.asarray, at_moment), deterministic=True
      ).aux["label_log_p_BL"]
      block = np.asarray(log_p[row, len(prompt) - 1 :])[: len(grammar.block)]
      whole[row, n, values] = block

  if name != "extras_first":
    kinds = grammar.group("level")
    starts = np.array([grammar.types[kind].start for kind in kinds])
    codes_BNM = token_BNT[:, :, : len(kinds)] - starts
    cache, logits_BC = apply(system, params, requests, method="start")
    logits_BNC = jnp.broadcast_to(
      logits_BC[:, None], (2, 3, *logits_BC.shape[1:])
    )
    parents = jnp.zeros((2, 3), jnp.int32)
    for level in range(len(kinds)):
      if level:
        cache, logits_BNC = apply(
          system, params, cache, level=level,
          codes_BK=jnp.asarray(codes_BNM[:, :, level - 1]),
          parents_BK=parents, method="step",
        )  # fmt: skip
        parents = jnp.broadcast_to(jnp.arange(3), (2, 3))
      for row, n in itertools.product(range(2), range(3)):
        found = _log_softmax(logits_BNC[row, n])[codes_BNM[row, n, level]]
        expected = whole[row, n, _combinations(grammar)[0]][level]
        assert found == pytest.approx(expected, abs=3e-4), (row, n, level)

  asked = {
    **requests,
    "candidate_BN": jnp.ones((2, 3), jnp.int32),
    "candidate_token_BNT": jnp.asarray(token_BNT),
  }
  logits_BNT = np.asarray(apply(system, params, asked, method="score"))
  for row, n in itertools.product(range(2), range(3)):
    tokens = len(grammar.asked)
    joint_C = _joint(
      {v: whole[row, n, v][tokens:] for v in _combinations(grammar)}
    )
    assert joint_C.sum() == pytest.approx(1)
    p_T = 1 / (1 + np.exp(-logits_BNT[row, n].astype(np.float64)))
    expected_T = _marginals(joint_C, len(grammar.actions))
    np.testing.assert_allclose(p_T, expected_T, atol=3e-4)


def _impressions(grammar, count, seed=3):
  """Two prompts and candidates, the last of the second is none."""
  rng = np.random.default_rng(seed)
  prompts = [rows.prompt(grammar, rng, events) for events in (1, 3)]
  token_BNT = np.stack([rows.asked_tokens(grammar, rng, count)] * 2)
  item_BN = np.ones((2, count), np.int32)
  item_BN[1, -1] = token_BNT[1, -1] = 0
  return {
    **rows.packed(grammar, [[p] for p in prompts]),
    "candidate_BN": jnp.asarray(item_BN),
    "candidate_token_BNT": jnp.asarray(token_BNT),
  }


def test_a_candidate_is_scored_as_if_it_were_alone(form):
  grammar, system, params, *_ = form
  batch = _impressions(grammar, 3)
  together = np.asarray(apply(system, params, batch, method="score"))
  assert together.shape == (2, 3, len(grammar.actions))
  assert np.isfinite(together).all() and not together[1, 2].any()
  assert np.ptp(together[0], axis=0).min() > 1e-2
  names = ("candidate_BN", "candidate_token_BNT")
  for n in range(3):
    alone = {**batch, **{name: batch[name][:, n : n + 1] for name in names}}
    found = np.asarray(apply(system, params, alone, method="score"))
    np.testing.assert_allclose(found[:, 0], together[:, n], atol=2e-4)
  order = np.array([2, 0, 1])
  mixed = {**batch, **{name: batch[name][:, order] for name in names}}
  found = np.asarray(apply(system, params, mixed, method="score"))
  np.testing.assert_allclose(found, together[:, order], atol=2e-4)


def test_a_value_is_linear_and_a_constant_moves_all_alike(form):
  """Of exclusive actions, whose probabilities sum to 1."""
  grammar, system, params, *_ = form
  batch = _impressions(grammar, 3)

  @jax.jit
  def log_probs_of(params, batch):
    def ask(method, *args):
      return system.apply(params, *args, method=method)

    cache = ask("open_list", batch, 1)
    cache = ask("consider", cache, batch["candidate_token_BNT"])
    return ask("action_log_probs", cache)

  log_p = log_probs_of(params, batch)
  p_NC = np.exp(np.asarray(log_p[0], np.float64))
  np.testing.assert_allclose(p_NC.sum(axis=1), 1, atol=1e-5)
  said = {"none": 1.0, "click": 10.0, "like": -100.0, "click|like": 3.0}
  names = tuple(said)

  def value(weights):
    return ValueFunction.of(names, weights)(p_NC)

  by_hand_N = sum(w * p_NC[:, i] for i, w in enumerate(said.values()))
  np.testing.assert_allclose(value(said), by_hand_N)
  other = {name: w**2 for name, w in said.items()}
  both = {name: 2 * said[name] + 3 * other[name] for name in names}
  np.testing.assert_allclose(value(both), 2 * value(said) + 3 * value(other))
  more = {name: w + 7 for name, w in said.items()}
  np.testing.assert_allclose(value(more), value(said) + 7, atol=1e-4)


def test_only_what_the_automaton_allows_has_a_probability(form):
  """After every token of a sequence, against the types that may follow it."""
  grammar, system, params, _, users = form
  tokens = users[3]
  states, state = [], 0
  for token in tokens:
    state = int(grammar.next_state_SK[state, grammar.type_V[token]])
    states.append(state)

  @jax.jit
  def behind(params, batch):
    def ask(method, *args):
      return system.apply(params, *args, method=method)

    cache = ask("open", batch, 0)
    kinds = range(2, len(grammar.types))
    return cache.state_BK, [ask("next_logits", cache, kind) for kind in kinds]

  for count in (1, len(tokens) // 2, len(tokens)):
    batch = rows.packed(grammar, [[tokens[:count]]])
    state, found = behind(params, batch)
    assert state.tolist() == [[states[count - 1]]]
    for kind, logits in enumerate(found, start=2):
      may = bool(grammar.allowed_SK[states[count - 1], kind])
      assert np.isfinite(np.asarray(logits)).all() == may
      assert (np.asarray(logits) == -np.inf).all() != may


def test_a_prompt_that_stops_within_an_item_finds_nothing_and_says_so(form):
  grammar, system, params, *_ = form
  rng = np.random.default_rng(4)
  broken = rows.prompt(grammar, rng, 2) + [grammar.types[2].start]
  batch = rows.packed(grammar, [[broken]])
  _, logits_BC = apply(system, params, batch, method="start")
  with pytest.raises(ValueError, match="not finite"):
    finite.check_scores(
      np.asarray(log_probs(logits_BC, 0, grammar.level_sizes))
    )


def test_what_stands_before_the_codes_cannot_be_searched():
  grammar = GRAMMARS["extras_first"]
  system = rows.model(grammar)
  batch = rows.packed(grammar, [[[1]]])
  params = rows.random_params(system, batch)
  with pytest.raises(ValueError, match="extras_first=False to search"):
    apply(system, params, batch, method="start")


def _likely_actions(grammar, system, params, tokens):
  """Each action's most likely known token behind a row, one after the other."""
  found = []
  for kind in grammar.group("action"):
    one, scores = grammar.types[kind], {}
    # Two rows at a time, as everywhere here; none is known of the first token.
    for token in range(one.start + 1, one.start + one.size, 2):
      longer = [[*tokens, *found, token + more] for more in (0, 1)]
      batch = rows.packed(grammar, [[row] for row in longer])
      log_p = _outputs(system, params, batch).aux["label_log_p_BL"]
      for more in (0, 1):
        scores[token + more] = float(log_p[more, len(longer[0]) - 2])
    found.append(max(scores, key=scores.get))
  return found


def test_lists_are_written_behind_items_of_which_little_is_known(form):
  """Against whole rows: codes, nothing told of them, the likely action."""
  grammar, system, params, *_ = form
  rng = np.random.default_rng(7)
  prompts = [rows.prompt(grammar, rng, count) for count in (0, 3)]
  codes = [*itertools.product(*map(range, grammar.level_sizes))]
  codes = np.array([codes[0], *codes], np.int32)
  trie = Trie.build(codes, grammar.level_sizes)

  @jax.jit
  def write(params, batch):
    def ask(*args, method):
      return system.apply(params, *args, method=method)

    return beam_lists(ListsOf(BoundModel(ask, batch)), trie, 3, 2)

  requests = rows.packed(grammar, [[p] for p in prompts])
  lists = jax.device_get(write(params, requests))
  starts = grammar.start_K[list(grammar.group("level"))]
  untold = grammar.start_K[list(grammar.group("extra"))].tolist()
  for row, prompt in enumerate(prompts):
    assert len({*map(tuple, lists.ids_BKJ[row].tolist())}) == 3
    for k, items in enumerate(lists.ids_BKJ[row].tolist()):
      tokens, total = [*prompt], 0.0
      assert len({*items}) == 2
      for place, item in enumerate(items):
        begin = len(tokens)
        tokens += (codes[item] + starts).tolist()
        batch = rows.packed(grammar, [[tokens]] * 2)
        log_p = _outputs(system, params, batch).aux["label_log_p_BL"][0]
        total += float(log_p[begin - 1 : len(tokens) - 1].sum())
        found = lists.up_to_BKJ[row, k, place]
        assert found == pytest.approx(total, abs=1e-3), (row, k, place)
        if place == 0:
          tokens += untold
          tokens += _likely_actions(grammar, system, params, tokens)


_ITEMS = 40
_CODES = TokenGrammar((16, 16, 16), ("click",), context=(("hour", 3),))


@pytest.fixture(scope="module")
def catalogue():
  """Items of 3 x 16 codes, some of which share all, and log p of each.

  By whole rows: the prompt with the item behind it.
  """
  rng = np.random.default_rng(5)
  codes = rng.integers(0, 16, (_ITEMS + 1, 3)).astype(np.int32)
  codes[2:8] = codes[1]
  codes[4:8, 2] = range(4)
  codes[0] = 0
  system = rows.model(_CODES)
  prompts = [rows.prompt(_CODES, rng, count) for count in (0, 4)]
  batch = rows.packed(_CODES, [[p] for p in prompts])
  params = rows.random_params(system, batch)
  starts = [_CODES.types[kind].start for kind in _CODES.group("level")]
  scores = np.zeros((2, _ITEMS + 1))
  for item in range(1, _ITEMS + 1):
    tokens = (codes[item] + starts).tolist()
    whole = rows.packed(_CODES, [[p + tokens] for p in prompts])
    log_p = np.asarray(_outputs(system, params, whole).aux["label_log_p_BL"])
    for row, prompt in enumerate(prompts):
      scores[row, item] = log_p[row, len(prompt) - 1 :][:3].sum()
  allowed = rng.random((2, _ITEMS + 1)) < 0.6
  return system, params, batch, codes, scores, allowed


@pytest.mark.parametrize(
  "strategy",
  [
    Beam(64),
    pytest.param(Exact(20), marks=_SLOW),
    BestFirst(20, budget=64, width=8),
  ],
)
@pytest.mark.parametrize("masked", [pytest.param(False, marks=_SLOW), True])
def test_searches_find_the_best_items_there_are(catalogue, strategy, masked):
  """Against log p of every item; beams as wide as there are items."""
  system, params, batch, codes, scores, allowed = catalogue
  trie = Trie.build(codes, (16, 16, 16))
  words = ItemMask.of(allowed).words_BW if masked else None

  @jax.jit
  def search(params, batch, words):
    def ask(*args, method):
      return system.apply(params, *args, method=method)

    items = SearchItems(trie, jnp.zeros(len(codes), bool))
    return strategy(BoundModel(ask, batch), items, words)

  ids, found, of = map(np.asarray, search(params, batch, words)[:3])
  for row in range(2):
    kept = allowed[row].copy() if masked else np.ones(_ITEMS + 1, bool)
    kept[0] = False
    best = np.sort(scores[row][kept])[::-1][:20]
    np.testing.assert_allclose(found[row, : len(best)], best, atol=5e-4)
    mine = ids[row, : len(best)]
    assert len({*mine.tolist()}) == len(best) and kept[mine].all()
    np.testing.assert_allclose(scores[row][mine], best, atol=5e-4)
    np.testing.assert_array_equal(of[row, : len(best)], codes[mine])


def test_a_greedy_search_finds_most_of_the_best(catalogue):
  """The literal form of a best-first search, which stops when k are found."""
  system, params, batch, codes, scores, _ = catalogue
  trie = Trie.build(codes, (16, 16, 16))

  @jax.jit
  def search(params, batch):
    def ask(*args, method):
      return system.apply(params, *args, method=method)

    return best_first_search(
      BoundModel(ask, batch), trie, 10, budget=64, greedy=True
    )

  found = search(params, batch)
  recall = []
  for row in range(2):
    mine = np.asarray(found.ids_Bk[row])
    assert len({*mine.tolist()}) == 10 and mine.min() > 0
    np.testing.assert_allclose(
      np.asarray(found.scores_Bk[row]), scores[row][mine], atol=5e-4
    )
    least = np.sort(scores[row][1:])[-10]
    recall.append(np.mean(scores[row][mine] >= least - 5e-4))
  assert 0.3 <= np.mean(recall) <= 1, recall


def test_products_are_six_for_each_weight_and_token():
  """Forward and backward of the linear part, counted in the program."""
  grammar = GRAMMARS["plain"]
  width, layers, length, count = 64, 2, 32, 2
  backbone = rows.causal(width=width, num_layers=layers, ffn_width=256)
  backbone = dataclasses.replace(backbone, num_heads=2, head_width=32)
  system = TokenBaseline(9, grammar, width, backbone)
  rng = np.random.default_rng(6)
  users = [rows.sequence(grammar, rng, 12) for _ in range(count)]
  batch = rows.packed(grammar, [[u] for u in users], length)
  params = rows.random_params(system, batch)

  def loss(params):
    outputs = system.apply(params, batch, deterministic=True)
    return TypedCrossEntropy()(outputs, batch, rng=_KEY, items=_NOTHING)[0]

  program = jax.jit(jax.grad(loss)).lower(params).compile()
  counted = program_cost(hlo.parse(program.as_text())).flops
  attention = 12 * length * length * width * layers * count
  matrices = [
    x for x in jax.tree.leaves(params["params"]["backbone"]) if x.ndim == 2
  ]
  weights = sum(x.size for x in matrices if min(x.shape) >= width)
  expected = 6 * weights * length * count
  assert counted - attention == pytest.approx(expected, rel=0.1)
