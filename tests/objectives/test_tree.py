# SPDX-License-Identifier: Apache-2.0
"""Losses on trees against loops, and codes over children."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.tokens import CodeCrossEntropy
from genrec_jax.objectives.tree import ChildAlignment, PrefixRanking

_ITEMS = Items(9, lambda ids: ids)
_KEY = jax.random.key(0)


def _nodes(seed=0):
  """Paths of 2 x 4 items in a tree of 2 x 3 x 2, the last place padding."""
  rng = np.random.default_rng(seed)
  codes = np.stack([rng.integers(0, n, (2, 4)) for n in (2, 3, 2)], axis=-1)
  path = codes[..., 0]
  node = [path]
  for level, (start, size) in enumerate(((2, 3), (8, 2)), 1):
    path = path * size + codes[..., level]
    node.append(start + path)
  node = np.stack(node, axis=-1)
  table = rng.normal(size=(21, 5)).astype(np.float32)
  segments = np.array([[1, 1, 1, 2], [1, 1, 1, 0]])
  return node, table, segments


def _align(table, node, segments, **more):
  outputs = Outputs(
    aux={"node_BSM": jnp.asarray(node), "node_BSMD": table[jnp.asarray(node)]}
  )
  batch = {"segment_ids_BL": jnp.asarray(segments)}
  objective = ChildAlignment(temperature=0.3)
  return objective(outputs, batch, rng=_KEY, items=_ITEMS, **more)


@pytest.mark.parametrize("seed", range(3))
def test_alignment_equals_a_loop(seed):
  node, table, segments = _nodes(seed)
  loss, parts = _align(jnp.asarray(table), node, segments)
  parent = {}
  for path in node[segments > 0]:
    for up, down in zip((-1, *path), path, strict=False):
      parent[int(down)] = int(up)
  unit = table / np.linalg.norm(table, axis=1, keepdims=True)
  losses = []
  for n, p in parent.items():
    if p < 0:
      continue
    scores = {q: np.exp(unit[n] @ unit[q] / 0.3) for q in parent}
    others = [scores[q] for q in parent if q not in (n, p) and parent[q] != n]
    losses.append(-np.log(scores[p] / (scores[p] + sum(others))))
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
  assert float(parts["child_alignment"].count) == len(losses)


def test_alignment_moves_no_node_of_padding_and_is_0_of_nothing():
  node, table, segments = _nodes()
  node[1, 3] = [0, 2, 20]  # nobody else's leaf

  def loss(t):
    return _align(t, node, segments)[0]

  gradient = jax.grad(loss)(jnp.asarray(table))
  assert (np.array(gradient[20]) == 0).all()
  assert np.abs(gradient).max() > 0
  none, _ = _align(jnp.asarray(table), node, 0 * segments)
  assert float(none) == 0


def _rank_case(seed=0):
  rng = np.random.default_rng(seed)
  target = rng.integers(0, 2, (2, 3, 4))
  ranked = rng.integers(0, 2, (2, 3, 5, 4))
  score = rng.random((2, 3, 5)).astype(np.float32) / 100
  item = rng.integers(0, 4, (2, 3, 5))
  batch = {
    "target_codes_BSM": jnp.asarray(target),
    "target_item_BS": jnp.asarray([[0, 2, 3], [4, 5, 0]]),
    "ranked_item_BSK": jnp.asarray(item),
    "ranked_codes_BSKM": jnp.asarray(ranked),
  }
  return batch, jnp.asarray(score)


def _rank(batch, score, **more):
  return PrefixRanking(0.004)(
    Outputs(aux={"ranked_score_BSK": score}),
    batch,
    rng=_KEY,
    items=_ITEMS,
    **more,
  )


@pytest.mark.parametrize("seed", range(3))
def test_ranking_equals_a_loop_over_pairs_by_shared_prefix(seed):
  batch, score = _rank_case(seed)
  losses = []
  for b, s in ((0, 1), (0, 2), (1, 0), (1, 1)):
    shared = []
    for codes in np.array(batch["ranked_codes_BSKM"][b, s]):
      same = 0
      while same < 4 and codes[same] == batch["target_codes_BSM"][b, s, same]:
        same += 1
      shared.append(same)
    real = np.flatnonzero(batch["ranked_item_BSK"][b, s])
    pairs = [(a, c) for a in real for c in real if shared[a] > shared[c]]
    if pairs:
      terms = [
        max(0, score[b, s, c] - score[b, s, a]
            + 0.004 * (shared[a] - shared[c]))
        for a, c in pairs
      ]  # fmt: skip
      losses.append(np.mean(terms))
  loss, _ = _rank(batch, score)
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


def test_ranking_without_pairs_is_0_and_needs_drawn_items():
  batch, score = _rank_case()
  none, _ = _rank({**batch, "ranked_item_BSK": 0 * score.astype(int)}, score)
  assert float(none) == 0
  # Models of codes that are no paths say nothing in aux.
  for aux in ({}, None):
    with pytest.raises(ValueError, match=r"layouts\.TreeHistory"):
      PrefixRanking()(Outputs(aux=aux), batch, rng=_KEY, items=_ITEMS)
    with pytest.raises(ValueError, match=r"models\.TreeDecoder"):
      ChildAlignment()(Outputs(aux=aux), batch, rng=_KEY, items=_ITEMS)


def test_codes_over_children_equal_a_softmax_over_those():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(1, 3, 2, 4)).astype(np.float32)
  there = rng.random((1, 3, 2, 4)) < 0.5
  codes = rng.integers(0, 4, (1, 3, 2))
  np.put_along_axis(there, codes[..., None], True, axis=-1)
  there[0, 2, 1] = np.arange(4) == codes[0, 2, 1]  # no alternative
  batch = {
    "target_codes_BSM": jnp.asarray(codes),
    "target_item_BS": jnp.asarray([[0, 5, 6]]),
    "children_BSMC": jnp.asarray(there),
  }
  objective = CodeCrossEntropy(over_children=True)

  def loss(z):
    out = Outputs(logits=z)
    return objective(out, batch, rng=_KEY, items=_ITEMS)[0]

  total = 0.0
  for place in (1, 2):
    for level in range(2):
      z, some = logits[0, place, level], there[0, place, level]
      total -= z[codes[0, place, level]] - np.log(np.exp(z[some]).sum())
  np.testing.assert_allclose(loss(jnp.asarray(logits)), total / 2, rtol=1e-5)
  gradient = np.array(jax.grad(loss)(jnp.asarray(logits)))
  assert (gradient[~there] == 0).all()
  np.testing.assert_array_equal(gradient[0, 2, 1], 0)  # certain: costs nothing
  del batch["children_BSMC"]
  with pytest.raises(ValueError, match="layout.num_codes"):
    loss(jnp.asarray(logits))
