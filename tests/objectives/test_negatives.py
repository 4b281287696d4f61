# SPDX-License-Identifier: Apache-2.0
"""Kinds of negatives against loops, enumeration and the full softmax."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives import (
  FromLists,
  FullSoftmax,
  HardBlock,
  InBatchNegatives,
  Mixed,
  PositiveAware,
  SampledSoftmax,
  UniformPerPosition,
  UniformShared,
)
from genrec_jax.objectives.negatives import Drawn, Positions
from genrec_jax.objectives.own_events import OwnEvents

_V, _D, _B, _L = 15, 4, 2, 6
_KEY = jax.random.key(0)
# Three users in two rows; padding at the end of the second.
_SEGMENTS = np.array([[1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 0, 0]], np.int32)


class _Listed:
  """Draws what it is told."""

  def __init__(self, ids):
    self.ids = jnp.asarray(ids, jnp.int32)

  def draw(self, rng, positions):
    return (Drawn(self.ids),)


def _case(seed=0, num_items=_V):
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(num_items + 1, _D)).astype(np.float32)
  query = rng.normal(size=(_B, _L, _D)).astype(np.float32)
  items = rng.integers(1, num_items + 1, (_B, _L + 1))
  batch = {
    "item_BL": np.where(_SEGMENTS > 0, items[:, :-1], 0),
    "label_BL": np.where(_SEGMENTS > 0, items[:, 1:], 0),
    "segment_ids_BL": _SEGMENTS,
    "negatives_BLN": rng.integers(0, num_items + 1, (_B, _L, 5)),
  }
  batch = {k: jnp.asarray(v, jnp.int32) for k, v in batch.items()}
  return jnp.asarray(query), jnp.asarray(table), batch


def _items(table, **options):
  number = len(table) - 1
  return Items(number, lambda i: table if i is None else table[i], **options)


def _loss(objective, query, table, batch, rng=_KEY, **options):
  return objective(
    Outputs(query=query), batch, rng=rng, items=_items(table, **options)
  )[0]


_GRAD = jax.value_and_grad(_loss, argnums=(1, 2))


def _positions(query, table, batch, *, past=False):
  labels = batch["label_BL"].reshape(-1)
  own = OwnEvents.of(batch, "label_BL", past=past)
  query = query.reshape(-1, _D)
  return Positions(query, labels, labels > 0, _items(table), own, batch)


def _own(batch, t, past=False):
  """What must not be a negative of position t, by a loop."""
  row, place = divmod(t, _L)
  label, item, segment = (
    np.asarray(batch[name])[row]
    for name in ("label_BL", "item_BL", "segment_ids_BL")
  )
  found = {0}
  for other in range(_L):
    if segment[other] != segment[place]:
      continue
    if other >= place:
      found.add(int(label[other]))
    elif past:
      found |= {int(label[other]), int(item[other])}
  return found | ({int(item[place])} if past else set())


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_own_events_are_those_of_loops(seed, past):
  # Few items, so that users take them again and share them.
  _, _, batch = _case(seed, num_items=5)
  own = OwnEvents.of(batch, "label_BL", past=past)
  total = _B * _L
  shared = jnp.arange(1, 6, dtype=jnp.int32)
  each = jnp.asarray(
    np.random.default_rng(seed).integers(1, 6, (total, 7)), jnp.int32
  )
  wanted = [_own(batch, t, past) for t in range(total)]
  for ids in (shared, each):
    found = np.asarray(own.among(ids))
    rows = np.broadcast_to(np.asarray(ids), found.shape)
    loops = [[i in wanted[t] for i in rows[t]] for t in range(total)]
    np.testing.assert_array_equal(found, loops)
  mine, listed = own.of_positions(jnp.arange(total))
  for t in range(total):
    found = {*np.asarray(listed)[t][np.asarray(mine)[t]].tolist()}
    assert found | {0} == wanted[t]


def _alone(batch):
  """One labelled position a segment: nothing comes later."""
  first = np.zeros((_B, _L), bool)
  first[0, [1, 4]] = first[1, 2] = True
  return {**batch, "label_BL": batch["label_BL"] * first}


@pytest.mark.parametrize("shared", [True, False])
def test_all_items_are_the_full_softmax_with_its_gradients(shared):
  query, table, batch = _case()
  batch = _alone(batch)
  every = np.arange(1, _V + 1)
  if not shared:
    every = np.tile(every, (_B * _L, 1))
  got = _GRAD(SampledSoftmax(_Listed(every), 0.7), query, table, batch)
  wanted = _GRAD(FullSoftmax(0.7), query, table, batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    got,
    wanted,
  )


@pytest.mark.parametrize("rows_only", [False, True])
def test_shared_is_per_position_where_the_sets_are_equal(rows_only):
  query, table, batch = _case()
  ids = np.array([3, 9, 9, 1, 14])
  forms = (
    _Listed(ids),
    _Listed(np.tile(ids, (_B * _L, 1))),
    Mixed((_Listed(ids[:2]), _Listed(np.tile(ids[2:], (_B * _L, 1))))),
  )
  for filtered in (False, True):
    first, *others = (
      _GRAD(
        SampledSoftmax(PositiveAware(x, 0.9, 0.8) if filtered else x, 0.5),
        query,
        table,
        batch,
        rows_only=rows_only,
      )
      for x in forms
    )
    for other in others:
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        first,
        other,
      )


def test_infonce_is_the_sampled_softmax_of_uniform_negatives():
  query, table, batch = _case()
  kind = UniformShared(8)
  (drawn,) = kind.draw(_KEY, _positions(query, table, batch))
  loss = _loss(SampledSoftmax(kind, 0.3), query, table, batch)
  losses = []
  for t in np.flatnonzero(np.asarray(batch["label_BL"]).reshape(-1)):
    label = int(batch["label_BL"].reshape(-1)[t])
    left = [int(i) for i in drawn.ids if int(i) not in _own(batch, t)]
    vectors = np.asarray(table)[[label, *left]].astype(np.float64)
    scores = vectors @ np.asarray(query).reshape(-1, _D)[t] / 0.3
    share = np.exp(scores - scores.max())
    losses.append(-np.log(share[0] / share.sum()))
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


_KINDS = {
  "position": UniformPerPosition(6),
  "shared": UniformShared(6),
  "in_batch": InBatchNegatives(12),
  "mixed": Mixed((UniformShared(4), InBatchNegatives(8))),
  "mixed_shapes": Mixed((UniformPerPosition(4), InBatchNegatives(8))),
  "block": HardBlock(4, UniformShared(10), probes=3),
  "block_of_each": HardBlock(4, UniformShared(10), probes=None),
  "aware": PositiveAware(UniformShared(10), ratio=0.9),
  "aware_block": HardBlock(4, PositiveAware(UniformShared(9)), probes=3),
  "lists": FromLists(8),
  "lists_of_each": FromLists(5, shared=False),
}
_NAMES = [pytest.param(kind, id=name) for name, kind in _KINDS.items()]


@pytest.mark.parametrize("kind", _NAMES)
def test_nothing_pushes_a_users_own_items_down(kind):
  """By the gradient of every position's loss, in many draws."""
  query, table, batch = _case(3)
  objective = SampledSoftmax(kind, 0.5)

  def of_position(table, t, rng):
    weights = (jnp.arange(_B * _L) == t).reshape(_B, _L).astype(jnp.float32)
    return objective(
      Outputs(query=query),
      batch,
      rng=rng,
      items=_items(table),
      weights=weights,
    )[0]

  def pushed(t, rng):
    """The score's derivative by each item, along the position's query."""
    gradient = jax.grad(of_position)(table, t, rng)
    return gradient @ query.reshape(-1, _D)[t]

  ts = np.flatnonzero(np.asarray(batch["label_BL"]).reshape(-1))
  keys = jax.random.split(_KEY, 12)
  by_draw = jax.vmap(pushed, (None, 0))
  found = np.asarray(jax.jit(jax.vmap(by_draw, (0, None)))(ts, keys))
  down = (found > 1e-7).any(axis=1)
  for row, t in enumerate(ts):
    own = _own(batch, t)
    assert not down[row, sorted(own)].any(), (t, own)
  # It would have said so: the others are pushed.
  assert down.any()
  # An item that is taken later, and is no label here, is not touched at all.
  later = [sorted(_own(batch, t) - {int(batch["label_BL"].ravel()[t])})
           for t in ts]  # fmt: skip
  for row, ids in enumerate(later):
    assert not found[row][:, ids].any()


@pytest.mark.parametrize("kind", _NAMES)
def test_a_catalogue_that_the_user_takes_whole_has_no_negatives(kind):
  """Three items, all of them to come: the loss is 0, and so is its gradient."""
  if kind in (_KINDS["lists_of_each"], _KINDS["aware_block"]):
    kind = FromLists(3, shared=False)
  query, table, batch = _case(num_items=3)
  few = {
    _KINDS["position"]: UniformPerPosition(3),
    _KINDS["shared"]: UniformShared(3),
    _KINDS["mixed"]: Mixed((UniformShared(3), InBatchNegatives(8))),
    _KINDS["mixed_shapes"]: Mixed((UniformPerPosition(3), UniformShared(2))),
    _KINDS["block"]: HardBlock(3, UniformShared(3), probes=2),
    _KINDS["block_of_each"]: HardBlock(3, UniformShared(3), probes=None),
    _KINDS["aware"]: PositiveAware(UniformShared(3), ratio=1.0),
    _KINDS["lists"]: FromLists(3),
  }
  kind = few.get(kind, kind)
  label = jnp.asarray([[1, 2, 3, 0, 0, 0]] * 2, jnp.int32)
  segments = jnp.asarray([[1, 1, 1, 1, 0, 0]] * 2, jnp.int32)
  batch = {**batch, "label_BL": label, "segment_ids_BL": segments}
  batch["negatives_BLN"] = jnp.maximum(batch["negatives_BLN"], 1)
  where = jnp.arange(_L)[None] == 0
  value, grads = jax.value_and_grad(
    lambda q, t: SampledSoftmax(kind, 0.5)(
      Outputs(query=q),
      batch,
      rng=_KEY,
      items=_items(t),
      where=where | (label < 0),
    )[0],
    argnums=(0, 1),
  )(query, table)
  assert value == 0
  for grad in grads:
    assert not np.asarray(grad).any()


def test_own_history_leaves_out_what_came_before():
  query, table, batch = _case(1, num_items=6)
  every = _Listed(np.arange(1, 7))
  options = ((True, False), (False, True))
  for own_history, past in options:
    objective = SampledSoftmax(every, 1.0, own_history=own_history)
    losses = []
    for t in np.flatnonzero(np.asarray(batch["label_BL"]).reshape(-1)):
      label = int(batch["label_BL"].reshape(-1)[t])
      left = {*range(1, 7)} - _own(batch, t, past)
      scores = np.asarray(table)[[label, *left]]
      scores = scores @ np.asarray(query).reshape(-1, _D)[t]
      losses.append(np.log(np.exp(scores).sum()) - scores[0])
    got = _loss(objective, query, table, batch)
    np.testing.assert_allclose(got, np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_own_future_leaves_out_the_right_item_alone(shared):
  query, table, batch = _case(1, num_items=6)
  every = np.arange(1, 7)
  drawn = _Listed(every if shared else np.tile(every, (_B * _L, 1)))
  got = _GRAD(SampledSoftmax(drawn, 0.7, own_future=True), query, table, batch)
  # With every item drawn once that is the full softmax, users or not.
  wanted = _GRAD(FullSoftmax(0.7), query, table, batch)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    got,
    wanted,
  )
  masked = _loss(SampledSoftmax(drawn, 0.7), query, table, batch)
  assert masked < got[0] - 0.01
  with pytest.raises(ValueError, match="own_future=True .* choose one"):
    SampledSoftmax(drawn, own_history=False, own_future=True)


@pytest.mark.parametrize(
  "kind",
  [
    UniformShared(3),
    InBatchNegatives(3),
    Mixed((UniformShared(2), InBatchNegatives(1))),
    Mixed((UniformPerPosition(1), InBatchNegatives(2), UniformShared(1))),
  ],
)
def test_log_q_is_that_of_all_draws(kind):
  """The mean of sum f(i) / (N q(i)) over draws is the sum over what can be."""
  query, table, batch = _case(2)
  positions = _positions(query, table, batch)
  worth = jnp.asarray(np.random.default_rng(0).uniform(1, 2, _V + 1))

  def estimate(rng):
    drawn = kind.draw(rng, positions)
    total = sum(one.count for one in drawn)
    found = [
      jnp.sum(worth[one.ids] / total / jnp.exp(one.log_q(one.ids)), axis=-1)
      for one in drawn
    ]
    return sum(jnp.mean(x) for x in found)

  draws = 20_000
  found = jax.vmap(estimate)(jax.random.split(_KEY, draws))
  labels = np.unique(np.asarray(batch["label_BL"]))
  can_be = labels[labels > 0]
  if kind != InBatchNegatives(3):
    can_be = np.arange(1, _V + 1)
  error = 4 * float(found.std()) / draws**0.5
  assert error < 0.05 * float(worth[can_be].sum())
  assert abs(float(found.mean() - worth[can_be].sum())) < error


@pytest.mark.parametrize(
  ("ratio", "similarity"),
  [
    (ratio, similarity)
    for ratio in (None, 1.0, 0.9, 0.3, 0.01)
    for similarity in (None, 0.99, 0.2)
    if (ratio, similarity) != (None, None)
  ],
)
def test_the_positive_aware_filter_is_that_of_a_loop(ratio, similarity):
  query, table, batch = _case(4)
  table = table.at[5].set(2 * table[6])  # of cosine 1
  ids = np.random.default_rng(1).integers(1, _V + 1, (_B * _L, 9))
  aware = PositiveAware(_Listed(ids), ratio, similarity)
  loss = _loss(SampledSoftmax(aware, 0.5), query, table, batch)
  vectors, queries = (
    np.asarray(table, np.float64),
    np.asarray(query, np.float64),
  )
  losses, kept, dropped = [], 0, 0
  for t in np.flatnonzero(np.asarray(batch["label_BL"]).reshape(-1)):
    label = int(batch["label_BL"].reshape(-1)[t])
    scores = vectors @ queries.reshape(-1, _D)[t] / 0.5
    total = np.exp(scores[label])
    for i in ids[t]:
      if i in _own(batch, t):
        continue
      cosine = vectors[i] @ vectors[label]
      cosine /= np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[label])
      keep = ratio is None or scores[i] < ratio * scores[label]
      keep = keep and (similarity is None or cosine <= similarity)
      kept, dropped = kept + keep, dropped + (not keep)
      total += keep * np.exp(scores[i])
    losses.append(np.log(total) - scores[label])
  assert kept and (dropped or (ratio, similarity) == (None, 0.99))
  np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)


@pytest.mark.parametrize("ratio", [None, 0.9])
def test_the_hard_block_is_the_best_of_the_sampled_block(ratio):
  query, table, batch = _case(5)
  positions = _positions(query, table, batch)
  block = jnp.asarray([3, 7, 7, 1, 12, 9, 2, 14], jnp.int32)
  candidates = _Listed(block)
  if ratio is not None:
    candidates = PositiveAware(candidates, ratio)
  (drawn,) = HardBlock(3, candidates, probes=None).draw(_KEY, positions)
  hardness = {int(i): [] for i in block}
  for t in np.flatnonzero(positions.where_T):
    label = int(positions.labels_T[t])
    scores = np.asarray(table) @ np.asarray(positions.query_TD)[t]
    left = {int(i) for i in block} - _own(batch, t)
    if ratio is not None:
      left = {i for i in left if scores[i] < ratio * scores[label]}
    best = sorted(left, key=lambda i: -scores[i])[:3]
    found = np.asarray(drawn.ids)[t].tolist()
    assert found == best + [0] * (3 - len(best))
    for i in left:
      hardness[i].append(scores[i])
  # So many probes that every position is one of them.
  shared = HardBlock(3, candidates, probes=500)
  (drawn,) = shared.draw(_KEY, positions)
  ranked = {i: max(scores) for i, scores in hardness.items() if scores}
  best = sorted(ranked, key=lambda i: -ranked[i])[:3]
  assert np.asarray(drawn.ids).tolist() == best


def test_lists_are_those_of_the_batch():
  query, table, batch = _case(6)
  positions = _positions(query, table, batch)
  lists = np.asarray(batch["negatives_BLN"]).reshape(-1, 5)
  (each,) = FromLists(4, shared=False).draw(_KEY, positions)
  np.testing.assert_array_equal(each.ids, lists[:, :4])
  found = set()
  for key in jax.random.split(_KEY, 40):
    (drawn,) = FromLists(15).draw(key, positions)
    assert drawn.ids.shape == (15,)
    found |= {*np.asarray(drawn.ids).tolist()}
  valid = lists[np.asarray(positions.where_T)]
  assert found == {*valid[valid > 0].tolist()}
  # Nothing in any list: nothing is drawn, and nothing is lost.
  empty = {**batch, "negatives_BLN": 0 * batch["negatives_BLN"]}
  assert _loss(SampledSoftmax(FromLists(4)), query, table, empty) == 0


@pytest.mark.optimized
def test_shared_negatives_gather_one_row_where_others_gather_all():
  """Temporaries by the compiler's count, where rows outweigh all else."""
  num_items, width, count = 2000, 512, 64
  total = _B * _L

  def temporaries(kind):
    def loss(query, table):
      _, _, batch = _case()
      return _loss(SampledSoftmax(kind), query, table, batch, rows_only=True)

    shapes = ((_B, _L, width), (num_items + 1, width))
    args = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    compiled = jax.jit(loss).lower(*args).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  # K rows of D floats; beside them the queries and the right items, T rows.
  rows, beside = 4 * count * width, 2 * 4 * total * width
  shared = temporaries(UniformShared(count))
  each = temporaries(UniformPerPosition(count))
  assert rows <= shared < 1.2 * (rows + beside)
  assert total * rows <= each < 1.2 * (total * rows + beside)


@pytest.mark.parametrize(
  ("make", "said"),
  [
    (lambda: PositiveAware(UniformShared(4), 0.0), "ratio=0.0 must be above 0"),
    (lambda: PositiveAware(UniformShared(4), 1.01), "ratio=1.01 must be"),
    (lambda: PositiveAware(UniformShared(4), np.nan), "ratio=nan must be"),
    (lambda: PositiveAware(UniformShared(4), None), "has no rule"),
    (lambda: PositiveAware(UniformShared(4), None, 2.0), "similarity=2.0 must"),
    (lambda: Mixed(()), "parts is empty"),
    (lambda: Mixed((3,)), r"parts\[0\]"),
    (lambda: HardBlock(0, UniformShared(4)), "count=0 must be at least 1"),
    (lambda: HardBlock(1, UniformShared(4), 0), "probes=0 must be at least 1"),
    (lambda: FromLists(0), "count=0 must be at least 1"),
  ],
)
def test_options_that_cannot_be(make, said):
  with pytest.raises(ValueError, match=said):
    make()


@pytest.mark.parametrize(
  ("objective", "said"),
  [
    (
      SampledSoftmax(UniformShared(16, cap=False)),
      "draws 16 of a catalogue of 15",
    ),
    (
      SampledSoftmax(UniformPerPosition(16, cap=False)),
      "draws 16 of a catalogue of 15",
    ),
    (SampledSoftmax(HardBlock(3, UniformShared(16, cap=False))), "draws 16 of"),
    (SampledSoftmax(HardBlock(16, UniformShared(4))), "HardBlock. draws 16"),
    (SampledSoftmax(HardBlock(5, UniformShared(4))), "more than the 4 cand"),
    (SampledSoftmax(HardBlock(5, UniformPerPosition(9))), "every position"),
    (
      SampledSoftmax(
        HardBlock(5, Mixed((UniformShared(9), PositiveAware(UniformShared(9)))))
      ),
      "around the whole mixture",
    ),
    (SampledSoftmax(FromLists(16)), "FromLists. draws 16"),
    (SampledSoftmax(FromLists(6, shared=False)), "than the 5 items of a list"),
    (SampledSoftmax(FromLists(2, lists="other")), "layout makes no 'other'"),
    (
      SampledSoftmax(HardBlock(3, UniformShared(9)), correct_log_q=True),
      "is not known",
    ),
    (
      SampledSoftmax(
        Mixed((UniformShared(3), FromLists(2))), correct_log_q=True
      ),
      "is not known",
    ),
  ],
)
def test_draws_that_cannot_be(objective, said):
  query, table, batch = _case()
  with pytest.raises(ValueError, match=said):
    _loss(objective, query, table, batch)


def test_every_candidate_may_be_a_positive():
  """Nothing is left of any list: a loss of 0, and no NaN in its gradients."""
  query, table, batch = _case()
  label = batch["label_BL"]
  same = jnp.where(label > 0, 7, 0)
  kinds = (
    _Listed(np.full(6, 7)),
    InBatchNegatives(5),
    HardBlock(3, _Listed(np.full(6, 7)), probes=2),
    HardBlock(3, _Listed(np.full(6, 7)), probes=None),
  )
  for kind in kinds:
    value, grads = _GRAD(
      SampledSoftmax(kind), query, table, {**batch, "label_BL": same}
    )
    assert value == 0
    for grad in grads:
      assert not np.asarray(grad).any()


def test_parts_of_a_mixture_draw_apart():
  query, table, batch = _case()
  positions = _positions(query, table, batch)
  drawn = Mixed((UniformShared(9),) * 3).draw(_KEY, positions)
  for one, other in itertools.combinations(drawn, 2):
    assert np.asarray(one.ids).tolist() != np.asarray(other.ids).tolist()
