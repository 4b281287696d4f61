# SPDX-License-Identifier: Apache-2.0
"""Sampled and full softmax against each other and against loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import Items, Outputs
from genrec_jax.objectives.negatives import (
  Drawn,
  InBatchNegatives,
  Positions,
  UniformPerPosition,
  UniformShared,
  draw_tokens,
)
from genrec_jax.objectives.own_events import OwnEvents
from genrec_jax.objectives.softmax import FullSoftmax, SampledSoftmax

_V, _D, _SHAPE = 12, 4, (2, 5)


@dataclasses.dataclass(frozen=True)
class _Listed:
  """A sampler that returns what it is given."""

  ids: np.ndarray
  log_q: float = 0.0

  def draw(self, rng, positions):
    ids = jnp.asarray(self.ids, jnp.int32)
    return (Drawn(ids, lambda i: jnp.full(i.shape, self.log_q)),)


def _drawn(sampler, labels, where=None, seed=0, num_items=_V):
  """What a sampler of labels alone draws."""
  labels = jnp.asarray(labels)
  where = labels > 0 if where is None else where
  own = OwnEvents(labels[None])
  items = Items(num_items, lambda ids: ids)
  query = jnp.zeros((len(labels), _D))
  positions = Positions(query, labels, where, items, own, {})
  (drawn,) = sampler.draw(jax.random.key(seed), positions)
  return drawn


def _case(seed=0):
  rng = np.random.default_rng(seed)
  table = jnp.asarray(rng.normal(size=(_V + 1, _D)), jnp.float32)
  query = jnp.asarray(rng.normal(size=(*_SHAPE, _D)), jnp.float32)
  labels = rng.integers(1, _V + 1, _SHAPE)
  labels[0, 3:] = 0
  batch = {"label_BL": jnp.asarray(labels, jnp.int32)}
  return query, table, batch


def _loss(objective, query, table, batch, seed=0, **kwargs):
  items = Items(_V, lambda ids: table if ids is None else table[ids])
  loss, parts = objective(
    Outputs(query=query),
    batch,
    rng=jax.random.key(seed),
    items=items,
    **kwargs,
  )
  (mean,) = parts.values()
  assert float(mean.compute()) == pytest.approx(float(loss))
  return loss


def test_sampled_softmax_equals_loops_and_skips_accidental_hits():
  query, table, batch = _case()
  ids = np.random.default_rng(1).integers(1, _V + 1, (10, 6))
  loss = _loss(SampledSoftmax(_Listed(ids), 0.5), query, table, batch)
  labels = np.asarray(batch["label_BL"]).reshape(-1)
  expected = []
  for t in np.flatnonzero(labels):
    scores = np.asarray(table @ query.reshape(-1, _D)[t]) / 0.5
    others = [scores[i] for i in ids[t] if i != labels[t]]
    total = np.exp(scores[labels[t]]) + np.exp(others).sum()
    expected.append(np.log(total) - scores[labels[t]])
  assert any(labels[t] in ids[t] for t in np.flatnonzero(labels))
  assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_all_items_once_with_log_q_is_the_full_softmax():
  # One draw of each item, with q = 1/V and N = V: log(N q) = 0.
  query, table, batch = _case()
  every = _Listed(np.arange(1, _V + 1), -np.log(_V))
  sampled = SampledSoftmax(every, 0.7, correct_log_q=True)
  full = FullSoftmax(0.7)
  got = _loss(sampled, query, table, batch)
  assert float(got) == pytest.approx(
    float(_loss(full, query, table, batch)), rel=1e-5
  )


def test_log_q_makes_the_sum_over_samples_unbiased():
  # The mean of e^{s - log(N q)} over draws is the sum over the catalogue.
  query, table, batch = _case()
  sampler = UniformShared(8)
  labels = batch["label_BL"].reshape(-1)
  scores = table @ query.reshape(-1, _D)[0]

  def estimate(seed):
    drawn = _drawn(sampler, labels, seed=seed)
    return jnp.sum(jnp.exp(scores[drawn.ids] - drawn.log_q(drawn.ids)) / 8)

  estimates = jax.vmap(estimate)(jnp.arange(20_000))
  exact = jnp.exp(scores[1:]).sum()
  assert float(estimates.mean()) == pytest.approx(float(exact), rel=0.02)


def test_correcting_the_positive_subtracts_its_own_log_q():
  query, table, batch = _case()
  ids = np.array([1, 2, 3])
  plain = SampledSoftmax(_Listed(ids, -0.4), 1.0)
  both = dataclasses.replace(plain, correct_log_q=True, correct_positive=True)
  # The same shift on both sides cancels.
  assert float(_loss(both, query, table, batch)) == pytest.approx(
    float(_loss(plain, query, table, batch)), rel=1e-5
  )
  negatives_only = dataclasses.replace(plain, correct_log_q=True)
  assert float(_loss(negatives_only, query, table, batch)) != pytest.approx(
    float(_loss(plain, query, table, batch)), rel=1e-3
  )


@pytest.mark.parametrize(
  "objective",
  [
    FullSoftmax(),
    SampledSoftmax(UniformPerPosition(5)),
    SampledSoftmax(UniformShared(5)),
    SampledSoftmax(InBatchNegatives(5), correct_log_q=True),
  ],
  ids=["full", "position", "shared", "in_batch"],
)
class TestEveryObjective:
  def test_no_label_is_zero_with_zero_gradients(self, objective):
    query, table, _ = _case()
    batch = {"label_BL": jnp.zeros(_SHAPE, jnp.int32)}
    loss, grads = jax.value_and_grad(
      lambda q, t: _grad_loss(objective, q, t, batch), (0, 1)
    )(query, table)
    assert loss == 0
    for grad in grads:
      assert not np.any(np.asarray(grad))

  def test_where_leaves_tokens_out(self, objective):
    query, table, batch = _case()
    where = jnp.asarray(np.arange(5) % 2 == 0)[None] & (batch["label_BL"] > 0)
    grad = jax.grad(
      lambda q: _grad_loss(objective, q, table, batch, where=where)
    )(query)
    touched = np.any(np.asarray(grad) != 0, axis=-1)
    np.testing.assert_array_equal(touched, where)

  def test_weights_weigh_tokens(self, objective):
    query, table, batch = _case()
    weights = np.random.default_rng(2).uniform(0, 2, _SHAPE)
    unit = np.ones(_SHAPE)

    def per_token(row, column):
      one = np.zeros(_SHAPE)
      one[row, column] = 1.0
      return float(loss(one))

    def loss(weights):
      weights = jnp.asarray(weights, jnp.float32)
      return _loss(objective, query, table, batch, weights=weights)

    labelled = [tuple(x) for x in np.argwhere(np.asarray(batch["label_BL"]))]
    losses = [per_token(*x) for x in labelled]
    for w in (weights, unit):
      expected = np.average(losses, weights=[w[x] for x in labelled])
      assert float(loss(w)) == pytest.approx(expected, rel=1e-5)

  def test_the_padding_row_gets_no_gradient(self, objective):
    query, table, batch = _case()
    grad = jax.grad(lambda t: _grad_loss(objective, query, t, batch))(table)
    assert not np.any(np.asarray(grad[0]))
    assert np.any(np.asarray(grad[1:]))


def _grad_loss(objective, query, table, batch, where=None):
  items = Items(_V, lambda ids: table if ids is None else table[ids])
  return objective(
    Outputs(query=query),
    batch,
    rng=jax.random.key(0),
    items=items,
    where=where,
  )[0]


def test_in_batch_draws_labels_by_their_frequency():
  labels = jnp.array([3, 3, 3, 7, 0, 5])
  where = jnp.array([True, True, True, True, False, False])
  drawn = _drawn(InBatchNegatives(4000), labels, where)
  counts = np.bincount(np.asarray(drawn.ids), minlength=_V + 1) / 4000
  assert set(np.flatnonzero(counts)) == {3, 7}
  assert counts[3] == pytest.approx(0.75, abs=0.03)
  expected = np.where(np.asarray(drawn.ids) == 3, np.log(0.75), np.log(0.25))
  np.testing.assert_allclose(drawn.log_q(drawn.ids), expected, rtol=1e-5)


@pytest.mark.slow
def test_every_token_of_a_huge_batch_can_be_drawn():
  """In float32, odd numbers end at 2^24."""
  num_tokens, skipped = 2**24 + 2**20, 2**21
  where = jnp.arange(num_tokens) >= skipped
  tokens = np.asarray(draw_tokens(jax.random.key(0), where, 4096))
  assert tokens.min() >= skipped and tokens.max() < num_tokens
  assert np.mean(tokens % 2) == pytest.approx(0.5, abs=0.04)
  share = np.mean(tokens >= 2**24)
  assert share == pytest.approx(2**20 / (num_tokens - skipped), abs=0.02)
  # None is valid: any will do, and the objective masks it.
  nothing = draw_tokens(jax.random.key(0), jnp.zeros(3, bool), 2)
  assert set(np.asarray(nothing).tolist()) <= {0, 1, 2}


def test_uniform_draws_cover_the_catalogue_and_nothing_else():
  drawn = _drawn(UniformPerPosition(10), jnp.ones(1000, jnp.int32))
  assert drawn.ids.shape == (1000, 10)
  counts = np.bincount(np.asarray(drawn.ids).ravel(), minlength=_V + 1)
  assert counts[0] == 0 and len(counts) == _V + 1
  np.testing.assert_allclose(counts[1:] / 10_000, 1 / _V, atol=0.012)
  np.testing.assert_allclose(drawn.log_q(drawn.ids), -np.log(_V), rtol=1e-6)


@pytest.mark.parametrize("kind", [UniformPerPosition, UniformShared])
def test_more_negatives_than_items_are_refused_or_capped(kind):
  labels = jnp.ones(3, jnp.int32)
  with pytest.raises(ValueError, match="draws 13 of a catalogue of 12 items"):
    _drawn(kind(13, cap=False), labels)
  assert _drawn(kind(12, cap=False), labels).count == 12
  assert _drawn(kind(13), labels).count == 12


_BOTH = (SampledSoftmax(UniformShared(6), 0.5), FullSoftmax(0.5))


@pytest.mark.parametrize("objective", _BOTH, ids=["sampled", "full"])
def test_weights_of_a_layout_are_those_of_the_mean(objective):
  query, table, batch = _case()
  case = (objective, query, table)
  plain = _loss(*case, batch)
  ones = jnp.ones(_SHAPE, jnp.float32)
  assert float(_loss(*case, batch | {"weight_BL": ones})) == float(plain)
  rng = np.random.default_rng(5)
  weight, given = jnp.asarray(rng.random((2, *_SHAPE)), jnp.float32)
  weight = weight.at[0, 1].set(0)
  # Each label alone.
  total, count = 0.0, 0.0
  for place in np.argwhere(np.asarray(batch["label_BL"]) > 0):
    where = jnp.zeros(_SHAPE, bool).at[tuple(place)].set(True)
    share = float((weight * given)[tuple(place)])
    total += share * float(_loss(*case, batch, where=where))
    count += share
  got = _loss(*case, batch | {"weight_BL": weight}, weights=given)
  assert float(got) == pytest.approx(total / count, rel=1e-5)
  only = _loss(*case, batch | {"weight_BL": weight})
  assert float(only) == float(_loss(*case, batch, weights=weight))


def test_weights_of_other_places_are_an_error():
  query, table, batch = _case()
  batch = batch | {"weight_BL": jnp.ones((2, 4))}
  with pytest.raises(ValueError, match="weighs other places than 'label_BL'"):
    _loss(FullSoftmax(), query, table, batch)
