# SPDX-License-Identifier: Apache-2.0
"""Positives that others have: bits, gradients and loops over positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives import (
  CoverageWeights,
  FromLists,
  FullSoftmax,
  SampledSoftmax,
  UniformShared,
)

_V, _D, _B, _L, _R, _K = 15, 4, 2, 6, 3, 4
_LOSSES = {
  "full": FullSoftmax(),
  "sampled": SampledSoftmax(UniformShared(7), temperature=0.5),
}


@pytest.fixture(scope="module")
def case():
  rng = np.random.default_rng(0)
  labels = rng.integers(1, _V + 1, (_B, _L))
  labels[1, 4:] = 0
  place = rng.integers(0, 8, (_B, _L, _R)) * (rng.random((_B, _L, _R)) < 0.5)
  batch = {
    "item_BL": jnp.asarray(rng.integers(1, _V + 1, (_B, _L)), jnp.int32),
    "label_BL": jnp.asarray(labels, jnp.int32),
    "segment_ids_BL": jnp.asarray(labels > 0, jnp.int32),
    "place_BLR": jnp.asarray(place, jnp.int32),
    "segment_weight_BL": jnp.asarray(rng.random((_B, _L)), jnp.float32),
  }
  query = jnp.asarray(rng.normal(size=(_B, _L, _D)), jnp.float32)
  table = jnp.asarray(rng.normal(size=(_V + 1, _D)), jnp.float32)
  return query, table, batch


def _loss(objective, query, table, batch, **options):
  items = Items(_V, lambda i: table if i is None else table[i])
  loss, parts = objective(
    Outputs(query=query), batch, rng=jax.random.key(0), items=items, **options
  )
  return loss, parts


def _grad(objective, query, table, batch, **options):
  return jax.jit(
    jax.value_and_grad(
      lambda q, t: _loss(objective, q, t, batch, **options)[0], argnums=(0, 1)
    )
  )(query, table)


def _counts(batch):
  """By how many retrievers each label is covered."""
  return np.sum((batch["place_BLR"] > 0) & (batch["place_BLR"] <= _K), axis=2)


@pytest.mark.parametrize("by_count", [False, True])
@pytest.mark.parametrize("name", _LOSSES)
def test_beta_1_is_the_loss_itself_bit_by_bit(case, name, by_count):
  loss = _LOSSES[name]
  weighed = CoverageWeights(loss, beta=1.0, k=_K, by_count=by_count)
  for one, two in zip(
    jax.tree.leaves(_grad(loss, *case)),
    jax.tree.leaves(_grad(weighed, *case)),
    strict=True,
  ):
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("by_count", [False, True])
def test_beta_0_removes_what_is_covered(case, by_count):
  query, table, batch = case
  covered = _counts(batch) > 0
  valid = np.asarray(batch["label_BL"]) > 0
  assert (covered & valid).any() and (~covered & valid).any()
  loss = FullSoftmax()
  weighed = CoverageWeights(loss, beta=0.0, k=_K, by_count=by_count)
  found = _grad(weighed, *case)
  wanted = _grad(loss, *case, where=jnp.asarray(~covered))
  for one, two in zip(
    jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True
  ):
    np.testing.assert_allclose(one, two, rtol=1e-6)
  gradient = np.abs(found[1][0]).sum(axis=2)
  assert not gradient[covered].any()
  assert gradient[~covered & valid].all()


@pytest.mark.parametrize("by_count", [False, True])
@pytest.mark.parametrize("segments", [False, True])
def test_weights_are_those_of_a_loop(case, by_count, segments):
  query, table, batch = case
  counts, given = _counts(batch), np.full((_B, _L), 2.0, np.float32)
  given[0, 0] = 0.5
  wanted = np.zeros((_B, _L), np.float32)
  for b in range(_B):
    for t in range(_L):
      power = counts[b, t] if by_count else min(counts[b, t], 1)
      wanted[b, t] = 0.3**power * given[b, t]
      if segments:
        wanted[b, t] *= batch["segment_weight_BL"][b, t]
  weighed = CoverageWeights(
    FullSoftmax(), beta=0.3, k=_K, by_count=by_count, segments=segments
  )
  found, parts = _loss(weighed, *case, weights=jnp.asarray(given))
  plain, _ = _loss(FullSoftmax(), *case, weights=jnp.asarray(wanted))
  np.testing.assert_allclose(found, plain, rtol=1e-6)
  valid = np.asarray(batch["label_BL"]) > 0
  share = (counts[valid] > 0).mean()
  np.testing.assert_allclose(parts["weighed_down"].compute(), share, rtol=1e-6)
  # What comes first of a step's means is plotted as the loss.
  assert next(iter(jax.jit(lambda: parts)())) == "softmax"


def test_with_beta_0_and_all_covered_the_loss_is_0_and_no_nan(case):
  query, table, batch = case
  batch = {**batch, "place_BLR": jnp.ones((_B, _L, _R), jnp.int32)}
  weighed = CoverageWeights(FullSoftmax(), beta=0.0, k=_K)
  loss, gradients = _grad(weighed, query, table, batch)
  assert loss == 0 and not any(x.any() for x in jax.tree.leaves(gradients))


def test_lists_give_false_positives_and_never_what_the_user_takes(case):
  """Negatives of the ensemble's lists, through the weights."""
  query, table, batch = case
  rng = np.random.default_rng(3)
  lists = jnp.asarray(rng.integers(0, 6, (_B, _L, 5)), jnp.int32)
  batch = {**batch, "negatives_BLN": lists}
  labels = np.asarray(batch["label_BL"])
  objective = CoverageWeights(
    SampledSoftmax(FromLists(5, shared=False), temperature=1.0), beta=0.5, k=_K
  )
  loss, _ = _loss(objective, query, table, batch)
  counts, total, weight = _counts(batch), 0.0, 0.0
  for b in range(_B):
    for t in range(_L):
      if not labels[b, t]:
        continue
      own = {0, *labels[b, t:].tolist()}
      drawn = [i for i in np.asarray(lists)[b, t].tolist() if i not in own]
      score = np.asarray(table) @ np.asarray(query)[b, t]
      scores = np.array([score[labels[b, t]], *(score[i] for i in drawn)])
      w = 0.5 if counts[b, t] else 1.0
      total += w * (np.log(np.exp(scores).sum()) - scores[0])
      weight += w
  np.testing.assert_allclose(loss, total / weight, rtol=1e-5)


def test_what_is_missing_or_cannot_be_is_named(case):
  query, table, batch = case
  for name, option, segments in (
    ("place_BLR", "coverage", False),
    ("segment_weight_BL", "segments", True),
  ):
    objective = CoverageWeights(FullSoftmax(), segments=segments)
    without = {n: x for n, x in batch.items() if n != name}
    with pytest.raises(ValueError, match=f"'{name}'.*layout.lists.{option}"):
      _loss(objective, query, table, without)
  for beta in (-0.1, 1.1, float("nan")):
    with pytest.raises(ValueError, match="beta=.* must be from 0 to 1"):
      CoverageWeights(FullSoftmax(), beta=beta)
  with pytest.raises(ValueError, match="k=0 must be at least 1"):
    CoverageWeights(FullSoftmax(), k=0)
