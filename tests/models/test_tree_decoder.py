# SPDX-License-Identifier: Apache-2.0
"""Paths in a tree: probabilities sum to 1, and beams rank all items."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.core.types import Items
from genrec_jax.data.layouts.tree_history import TreeHistory
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.exact import exact_scores
from genrec_jax.decoding.over_children import ChildrenDecoder
from genrec_jax.decoding.trie import Trie
from genrec_jax.layers.node_embedding import NodeEmbedding
from genrec_jax.models.tree_decoder import TreeDecoder
from genrec_jax.objectives.tokens import CodeCrossEntropy
from genrec_jax.retrieval.strategy import BoundModel
from genrec_jax.semantic_ids.quantizers.balanced_tree import BalancedTree
from tests.data.layouts.parts_by_hand import ArtifactsByHand

_V, _LENGTH, _BRANCH = 23, 6, 3  # 27 leaves: some nodes have one child


def _codes():
  x = np.random.default_rng(0).normal(size=(_V, 4)).astype(np.float32)
  codes = BalancedTree(_BRANCH).fit(x).fit_codes
  return np.concatenate([0 * codes[:1], codes])


def _layout():
  layout = TreeHistory(_LENGTH, 3, num_codes=_BRANCH, ranked=2)
  return layout.bind(ArtifactsByHand(None, codes_V1M=_codes()))


@functools.cache
def _system():
  backbone = CausalTransformer(
    width=16, num_layers=2, num_heads=2, head_width=8, ffn_width=32,
    num_buckets=8, max_distance=12,
  )  # fmt: skip
  # Vectors of size 1, so that probabilities are far from equal.
  return TreeDecoder(
    num_items=_V,
    level_sizes=(_BRANCH,) * 3,
    width=16,
    num_positions=_LENGTH,
    backbone=backbone,
    embedding_init_std=1.0,
  )


def _batch(histories):
  layout = _layout()
  rows = np.zeros((len(histories), _LENGTH, 4), np.int32)
  segments = np.zeros(rows.shape[:2], np.int32)
  for row, items in enumerate(histories):
    rows[row, : len(items), 0] = items
    segments[row, : len(items)] = 1
  positions = np.arange(_LENGTH)[None, :] * segments
  return jax.tree.map(jnp.asarray, layout.batch(rows, segments, positions))


@functools.cache
def _params():
  batch = _batch([[1, 2, 3]])
  return _system().init(jax.random.key(0), batch, deterministic=True)


_HISTORIES = [[4, 9], [7, 1, 20, 3]]


def _log_p_by_loss():
  """log p(item | history) of all items, by the loss of teacher forcing."""
  objective = CodeCrossEntropy(over_children=True)
  items, params = Items(_V, lambda ids: ids), _params()

  @jax.jit
  def one(batch, where):
    out = _system().apply(params, batch, deterministic=True)
    rng = jax.random.key(0)
    return -objective(out, batch, rng=rng, items=items, where=where)[0]

  table = np.full((len(_HISTORIES), _V + 1), -np.inf)
  for row, history in enumerate(_HISTORIES):
    where = jnp.arange(_LENGTH)[None] == len(history)
    for item in range(1, _V + 1):
      table[row, item] = one(_batch([[*history, item]]), where)
  return table


def _decoder(trie, batch):
  apply = functools.partial(_system().apply, _params())
  return ChildrenDecoder(BoundModel(apply, batch), trie)


def test_beams_of_all_items_rank_as_the_loss_of_every_item_does():
  """Training, cached decoding and the trie agree; the paths sum to 1."""
  expected = _log_p_by_loss()
  np.testing.assert_allclose(np.exp(expected).sum(axis=1), 1, rtol=1e-5)
  assert np.ptp(expected[:, 1:]) > 1
  trie = Trie.build(_codes(), (_BRANCH,) * 3)

  @jax.jit
  def search(batch):
    decoder = _decoder(trie, batch)
    return beam_search(decoder, trie, _V), exact_scores(decoder, trie, 4)

  (ids, scores, codes), exact = search(_batch(_HISTORIES))
  np.testing.assert_allclose(exact[:, 1:], expected[:, 1:], atol=2e-4)
  np.testing.assert_array_equal(codes, _codes()[ids])
  for row in range(len(_HISTORIES)):
    assert sorted(np.array(ids[row])) == list(range(1, _V + 1))
    found = expected[row, ids[row]]
    np.testing.assert_allclose(scores[row], found, atol=2e-4)
    np.testing.assert_allclose(found, np.sort(found)[::-1], atol=4e-4)


def test_nodes_of_different_subtrees_share_no_vector():
  table = NodeEmbedding((3, 3, 3), 4)
  codes = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1)
  nodes = np.array(table.nodes(jnp.asarray(codes.reshape(-1, 3))))
  paths = {tuple(c[: d + 1]) for c in codes.reshape(-1, 3) for d in range(3)}
  assert len(np.unique(nodes)) == len(paths) == 3 + 9 + 27
  assert nodes.max() == 38


def test_a_paths_score_follows_from_the_events_before_the_target_alone():
  """No code of the target or behind it moves it; the event before does."""
  place, params = 2, _params()

  @jax.jit
  def scores(items):
    batch = dict(_batch([[4, 9, 7, 1, 20]]))
    batch["ranked_codes_BSKM"] = jnp.broadcast_to(
      jnp.asarray(_codes()[[3, 5]]), (1, _LENGTH, 2, 3)
    )
    batch["item_BL"] = batch["item_BL"].at[0, :5].set(items)
    batch["codes_BLM"] = jnp.asarray(_codes())[batch["item_BL"]]
    out = _system().apply(params, batch, deterministic=True)
    return out.aux["ranked_score_BSK"][0, place]

  base = scores(jnp.array([4, 9, 7, 1, 20]))
  for later in ([4, 9, 8, 1, 20], [4, 9, 7, 2, 20], [4, 9, 22, 13, 6]):
    np.testing.assert_allclose(scores(jnp.array(later)), base, atol=1e-6)
  assert np.abs(scores(jnp.array([4, 12, 7, 1, 20])) - base).max() > 1e-4


def test_paths_are_scored_and_trees_beyond_int32_refused():
  batch = _batch(_HISTORIES)
  out = _system().apply(_params(), batch, deterministic=True)
  score = np.array(out.aux["ranked_score_BSK"])
  assert score.shape == (2, _LENGTH, 2) and ((0 < score) & (score < 1)).all()
  with pytest.raises(ValueError, match="more nodes than int32"):
    NodeEmbedding((256,) * 4, 4)
