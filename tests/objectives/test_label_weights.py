# SPDX-License-Identifier: Apache-2.0
"""Weights of labels against loops; true rates found behind biased clicks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.core.types import UNKNOWN_TIME, Items, Outputs
from genrec_jax.objectives import (
  BinaryCrossEntropy,
  ByPlace,
  ByPropensity,
  ByTime,
)
from genrec_jax.objectives.label_weights import power_propensities

_DAY = 86_400
_ITEMS = Items(3, lambda ids: jnp.zeros((1, 1)))
# Two examples and padding; tokens without a label among and behind labels.
_ROWS = {
  "segment_ids_BL": [1, 1, 1, 1, 2, 2, 2, 0],
  "labelled_BL": [1, 0, 1, 0, 1, 1, 0, 0],
  "positions_BL": [0, 1, 2, 9, 4, 6, 7, 0],
  "query_time_BL": [0, 5, 30, 99, 7, 100, UNKNOWN_TIME // _DAY, 0],
  "slot_BL": [1, 0, 2, 0, 3, 9, 0, 0],
}


def _batch():
  batch = {k: np.array([v], np.int32) for k, v in _ROWS.items()}
  batch["query_time_BL"] *= _DAY
  return batch


def _ages(name):
  """By loops, from the last label of the same example."""
  batch, found = _batch(), []
  segment, labelled = batch["segment_ids_BL"][0], batch["labelled_BL"][0]
  for i in np.flatnonzero(labelled):
    last = max(
      int(batch[name][0, j])
      for j in np.flatnonzero(labelled)
      if segment[j] == segment[i]
    )
    found.append(last - int(batch[name][0, i]))
  return np.array(found, float)


def _of_labels(weight):
  batch = _batch()
  return np.asarray(weight.of(batch))[batch["labelled_BL"] > 0]


def test_recency_halves_by_place_and_by_time():
  ages = _ages("positions_BL")
  assert ages.tolist() == [2, 0, 2, 0]
  np.testing.assert_allclose(_of_labels(ByPlace(2.0)), [0.5, 1, 0.5, 1])
  days = _ages("query_time_BL") / _DAY
  assert days.tolist() == [30, 0, 93, 0]
  expected = 0.5 ** (days / 60)
  np.testing.assert_allclose(_of_labels(ByTime(60.0)), expected, rtol=1e-6)
  # From one moment for everybody; what is later than it counts as if at it.
  expected = 0.5 ** (np.array([90, 60, 83, 0]) / 60)
  found = _of_labels(ByTime(60.0, end_seconds=90 * _DAY))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  for value in (0.0, -1.0, float("nan")):
    with pytest.raises(ValueError, match="half_life.* must be above 0"):
      ByPlace(value)
    with pytest.raises(ValueError, match="half_life_days.* must be above 0"):
      ByTime(value)


def _loss(logits, label, batch, **options):
  objective = BinaryCrossEntropy(("click",), **options)
  batch = jax.tree.map(jnp.asarray, {**batch, "label_BL": label})
  outputs = Outputs(logits=jnp.asarray(logits))
  return objective(outputs, batch, rng=jax.random.key(0), items=_ITEMS)[0]


def test_weights_multiply_and_the_loss_divides_by_their_sum():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(1, 8, 1)).astype(np.float32)
  label = rng.integers(0, 2, (1, 8)).astype(np.int32)
  parts = (ByPlace(2.0), ByTime(60.0), ByPropensity((1.0, 0.5, 0.25)))
  found = _loss(logits, label, _batch(), label_weights=parts)
  weight = 0.5 ** (_ages("positions_BL") / 2)
  weight *= 0.5 ** (_ages("query_time_BL") / _DAY / 60)
  weight *= [1, 2, 4, 4]
  total = 0.0
  for w, i in zip(weight, np.flatnonzero(_ROWS["labelled_BL"]), strict=True):
    p = 1 / (1 + np.exp(-float(logits[0, i, 0])))
    total -= w * np.log(p if label[0, i] else 1 - p)
  np.testing.assert_allclose(found, total / weight.sum(), rtol=1e-5)
  with pytest.raises(ValueError, match="label_weights .* lacks of"):
    BinaryCrossEntropy(("click",), label_weights=(3.0,))
  # Labels over a recency would be no labels.
  with pytest.raises(ValueError, match="propensities=ByPlace.*ByPropensity"):
    BinaryCrossEntropy(("click",), propensities=ByPlace(2.0))


_TRUE = np.array([0.25, 0.5, 0.75])
_SEEN = np.array([1.0, 0.5, 0.25])


def _log(shown):
  """Every impression of item j in slot k, and as many clicks as expected."""
  item, slot, click = [], [], []
  for j, k in np.ndindex(3, 3):
    clicks = shown[j, k] * _SEEN[k] * _TRUE[j]
    assert clicks == int(clicks)
    item += [j] * shown[j, k]
    slot += [k + 1] * shown[j, k]
    click += [1] * int(clicks) + [0] * (shown[j, k] - int(clicks))
  ones = np.ones((1, len(item)), np.int32)
  batch = {
    "segment_ids_BL": ones, "labelled_BL": ones, "positions_BL": ones,
    "slot_BL": np.array([slot], np.int32),
  }  # fmt: skip
  return np.array(item), np.array([click], np.int32), batch


def _pull(rates, shown, **options):
  """Gradient of the loss at logits that say these rates of the items."""
  item, click, batch = _log(shown)

  def loss(z_V):
    return _loss(z_V[item][None, :, None], click, batch, **options)

  rates = np.asarray(rates, np.float32)
  return np.asarray(jax.grad(loss)(jnp.log(rates / (1 - rates))))


def test_inverse_propensities_find_the_true_rates():
  """The best items stood on top: what is clicked says that twice."""
  shown = 16 * np.array([[1, 2, 9], [3, 3, 3], [9, 2, 1]])
  chances = ByPropensity((1.0, 0.5, 0.25))
  at_truth = _pull(_TRUE, shown, propensities=chances)
  np.testing.assert_allclose(at_truth, 0, atol=1e-6)
  assert (np.abs(_pull(_TRUE, shown)) > 0.01).all()
  # Without them the loss has its minimum at what slots made of them.
  item, click, _ = _log(shown)
  biased = [click[0, item == j].mean() for j in range(3)]
  np.testing.assert_allclose(_pull(biased, shown), 0, atol=1e-6)
  # An item of .75 that is looked at less passes for one of .5 that is not.
  other = np.array([[1, 0, 0], [4, 0, 0], [0, 0, 1]]) * 16
  rates = [_log(other)[1][0, _log(other)[0] == j].mean() for j in (0, 1, 2)]
  assert rates[2] < rates[1]


def test_as_weights_they_undo_how_often_slots_were_used():
  """The mean over slots, however impressions fell on them."""
  used = ByPropensity((1.0, 0.5, 0.25))
  shown = np.tile(16 * np.array([4, 2, 1]), (3, 1))
  expected = (_TRUE[:, None] * _SEEN).mean(axis=1)
  pull = _pull(expected, shown, label_weights=(used,))
  np.testing.assert_allclose(pull, 0, atol=1e-6)
  assert (np.abs(_pull(expected, shown)) > 0.005).all()


def test_weights_are_cut_and_later_slots_share_the_last():
  batch = _batch()
  found = ByPropensity((1.0, 0.5, 0.125), most=4.0).of(batch)
  np.testing.assert_allclose(found[0], [1, 1, 2, 1, 4, 4, 1, 1])
  powers = power_propensities(4, 0.5)
  np.testing.assert_allclose(powers, np.arange(1, 5) ** -0.5)
  with pytest.raises(ValueError, match="power=-1.0"):
    power_propensities(4, -1.0)


@pytest.mark.parametrize("chance", [0.0, -0.5, 1.5, float("nan")])
def test_a_slot_that_nobody_looks_at_is_refused(chance):
  with pytest.raises(ValueError, match=f"{chance!r} of slot 2 must be above 0"):
    ByPropensity((1.0, chance))


def test_what_cannot_be_weighed_is_refused():
  with pytest.raises(ValueError, match="propensities is empty"):
    ByPropensity(())
  with pytest.raises(ValueError, match="most=0.5 must be at least 1"):
    ByPropensity((1.0,), most=0.5)
  batch = _batch()
  del batch["slot_BL"]
  with pytest.raises(ValueError, match="set config.pipeline.layout.num_slots"):
    ByPropensity((1.0,)).of(batch)
