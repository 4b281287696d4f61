# SPDX-License-Identifier: Apache-2.0
"""Few rows that read a history: one pass over all rows says the same.

The oracle is one dense pass over summaries, tokens and candidates side by side,
whose mask is written pair by pair from what rows are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.cross_causal import CrossCausal
from genrec_jax.core.types import SequenceInfo

_B, _W, _H = 2, 8, 2
# Tokens of each row; those that are not there come first.
_COUNTS = (9, 4)
_T = 10


def _stack(**options):
  defaults = {"width": _W, "num_heads": _H, "num_recent": 4}
  return CrossCausal(**(defaults | options))


def _arrays(summaries=2, candidates=3, own=2, length=_T, seed=0):
  keys = jax.random.split(jax.random.key(seed), 3)
  tokens = jax.random.normal(keys[1], (_B, _T, _W))
  tokens = jnp.pad(tokens, ((0, 0), (length - _T, 0), (0, 0)))
  there = jnp.arange(length)[None] >= length - jnp.array(_COUNTS)[:, None]
  return (
    jax.random.normal(keys[0], (_B, summaries, _W)),
    tokens,
    there,
    jax.random.normal(keys[2], (_B, candidates, own, _W)),
  )


def _both(module, summaries, tokens, there, candidates):
  history = module.encode(summaries, tokens, there, True)
  return history, module.read(history, candidates, True)


@functools.cache
def _params(stack):
  params = jax.jit(functools.partial(stack.init, method=_both))(
    jax.random.key(3), *_arrays()
  )
  rng = np.random.default_rng(4)
  return jax.tree.map(
    lambda x: x + 0.2 * rng.normal(size=x.shape).astype(np.float32), params
  )


@functools.partial(jax.jit, static_argnums=0)
def _run(stack, params, *arrays):
  return stack.apply(params, *arrays, method=_both)


def _norm(x, scale):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale


def _chosen(stack, count):
  """Which tokens stay rows, by their number among those there."""
  recent = min(stack.num_recent, count)
  old = count - recent
  few = min(stack.num_spread, old)
  if few < stack.num_spread:
    spread = [*range(old)]
  else:
    spread = [(2 * i + 1) * old // (2 * few) for i in range(few)]
  return [*spread, *range(old, count)]


def _one_pass(stack, params, summaries, tokens, there, candidates, row):
  """Rows of one history with all of its candidates, by their names."""
  p = jax.tree.map(np.asarray, params["params"])
  there = np.asarray(there)[row]
  events = np.asarray(tokens)[row][there]
  kept = _chosen(stack, len(events))
  rows = {("s", u): x for u, x in enumerate(np.asarray(summaries)[row])}
  rows |= {("e", t): x for t, x in enumerate(events)}
  for n, own in enumerate(np.asarray(candidates)[row]):
    rows |= {("c", n, i): x for i, x in enumerate(own)}

  def sees(who, whom):
    if whom[0] == "c":
      return who[0] == "c" and who[1] == whom[1]
    if who[0] == "e":
      if whom[0] == "s":
        return stack.summaries_seen
      return whom[1] <= who[1]
    return True

  asks = [n for n in rows if n[0] != "e" or n[1] in kept]
  for i in range(1 + stack.self_layers):
    block = p[f"blocks_{i}"]
    normed = {
      n: _norm(x, block["attention_norm"]["scale"]) for n, x in rows.items()
    }

    def heads(name, normed=normed, block=block):
      kernel = block["attention"][name]["kernel"]
      return {n: (x @ kernel).reshape(_H, -1) for n, x in normed.items()}

    q, k, v = heads("query"), heads("key"), heads("value")
    after = {}
    for who in asks:
      seen = [n for n in rows if sees(who, n)]
      y = []
      for h in range(_H):
        weights = np.exp([q[who][h] @ k[n][h] for n in seen])
        weights = weights / weights.sum()
        y.append(sum(w * v[n][h] for w, n in zip(weights, seen, strict=True)))
      x = rows[who] + np.concatenate(y) @ block["attention"]["output"]["kernel"]
      z = np.maximum(_norm(x, block["ffn_norm"]["scale"])
                     @ block["ffn"]["in"]["kernel"], 0)  # fmt: skip
      after[who] = x + z @ block["ffn"]["out"]["kernel"]
    rows = after
  return {n: _norm(x, p["final_norm"]["scale"]) for n, x in rows.items()}


_FORMS = {
  "plain": ({"block": 4}, {}),
  "no summary, one row": ({}, {"summaries": 0, "own": 1}),
  "spread": ({"num_recent": 1, "num_spread": 3}, {}),
  "no tokens": ({"num_recent": 0, "self_layers": 2}, {"summaries": 3}),
  "more than there are": ({"num_recent": 30, "self_layers": 0}, {}),
  "summaries seen": ({"summaries_seen": True}, {"candidates": 1}),
}


_LATER = [pytest.param(n, marks=pytest.mark.slow) for n in _FORMS]


@pytest.mark.parametrize("name", ["plain", *_LATER[1:]])
def test_two_parts_are_one_pass_over_all_rows(name):
  options, shapes = _FORMS[name]
  stack, arrays = _stack(**options), _arrays(**shapes)
  params = _params(stack)
  history, found = _run(stack, params, *arrays)
  for row in range(_B):
    expected = _one_pass(stack, params, *arrays, row)
    for (kind, *place), x in expected.items():
      if kind == "c":
        mine = found[row, place[0], place[1]]
      elif kind == "s":
        mine = history.summaries_BUW[row, place[0]]
      else:
        number = _chosen(stack, _COUNTS[row]).index(place[0])
        mine = history.tokens_BKW[row][np.asarray(history.there_BK)[row]]
        mine = mine[number]
      np.testing.assert_allclose(mine, x, rtol=1e-4, atol=1e-5)
    chosen = _chosen(stack, _COUNTS[row])
    assert int(history.there_BK[row].sum()) == len(chosen)


def test_all_tokens_without_globals_are_a_causal_transformer():
  """The same matrices, and no bias of relative positions."""
  layers, length = 3, 6
  stack = _stack(num_recent=length, self_layers=layers - 1)
  plain = CausalTransformer(_W, layers, _H, _W // _H, 4 * _W)
  params = _params(stack)["params"]
  renamed = {"final_norm": params["final_norm"]}
  for i in range(layers):
    renamed |= {f"{n}_{i}": part for n, part in params[f"blocks_{i}"].items()}
  x = jax.random.normal(jax.random.key(5), (_B, length, _W))
  one = jnp.ones((_B, length), jnp.int32)
  info = SequenceInfo(one, jnp.cumsum(one, axis=1) - 1, one, one)
  renamed["bias"] = {"embedding": jnp.zeros((_H, 32))}
  expected = jax.jit(
    lambda p, x: plain.apply({"params": p}, x, info, deterministic=True)
  )(renamed, x)
  history = jax.jit(
    lambda p, x: stack.apply(
      {"params": p}, x[:, :0], x, one > 0, True, method="encode"
    )
  )(params, x)
  np.testing.assert_allclose(history.tokens_BKW, expected, rtol=1e-5, atol=1e-5)


def test_candidates_change_nothing_and_do_not_see_each_other():
  stack, arrays = _stack(), _arrays()
  params = _params(stack)
  history, found = _run(stack, params, *arrays)
  others = arrays[3].at[:, 1].add(1.0)
  again, changed = _run(stack, params, *arrays[:3], others)
  for a, b in zip(
    jax.tree.leaves(again), jax.tree.leaves(history), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(changed[:, [0, 2]], found[:, [0, 2]])
  assert (changed[:, 1] != found[:, 1]).any()
  # Whether a candidate is scored alone makes no difference.
  _, alone = _run(stack, params, *arrays[:3], arrays[3][:, 2:])
  np.testing.assert_allclose(alone[:, 0], found[:, 2], rtol=1e-5, atol=1e-5)


def test_an_event_changes_itself_and_what_is_younger():
  stack = _stack(num_recent=_T)
  summaries, tokens, there, candidates = _arrays()
  params = _params(stack)
  history, found = _run(stack, params, summaries, tokens, there, candidates)
  changed = tokens.at[:, 7].add(1.0)
  again, other = _run(stack, params, summaries, changed, there, candidates)
  same = np.asarray(again.tokens_BKW == history.tokens_BKW).all(-1)
  assert same[:, :7].all() and not same[:, 7:].any()
  assert (other != found).any(axis=(1, 2, 3)).all()
  # Through summaries, an event would know of younger ones.
  stack = _stack(num_recent=_T, summaries_seen=True)
  before, _ = _run(stack, params, summaries, tokens, there, candidates)
  after, _ = _run(stack, params, summaries, changed, there, candidates)
  there = np.asarray(there)
  assert (after.tokens_BKW != before.tokens_BKW).any(-1)[there].all()


@pytest.mark.slow
def test_padding_before_the_history_is_not_there():
  stack = _stack(num_spread=2)
  params = _params(stack)
  _, found = _run(stack, params, *_arrays())
  _, longer = _run(stack, params, *_arrays(length=17))
  np.testing.assert_allclose(longer, found, rtol=1e-5, atol=1e-5)
  summaries, tokens, there, candidates = _arrays()
  filled = jnp.where(there[..., None], tokens, 7.0)
  _, other = _run(stack, params, summaries, filled, there, candidates)
  np.testing.assert_array_equal(other, found)


def test_a_history_that_nothing_reads_is_refused():
  with pytest.raises(ValueError, match="keeps no token"):
    _stack(num_recent=0).init(
      jax.random.key(0), *_arrays(summaries=0), method=_both
    )
  with pytest.raises(ValueError, match="not a multiple of num_heads=3"):
    _stack(num_heads=3).init(jax.random.key(0), *_arrays(), method=_both)
