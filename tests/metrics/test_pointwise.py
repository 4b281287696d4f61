# SPDX-License-Identifier: Apache-2.0
"""Log loss, NE, calibration and ECE: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn import calibration, metrics as sk

from genrec_jax.metrics.pointwise import CalibrationMetrics, PointwiseMetrics


def _logit(p):
  return np.log(p) - np.log1p(-np.asarray(p))


def _drawn(count=100_000):
  rng = np.random.default_rng(0)
  logits = rng.normal(-2, 1.5, size=count)
  positive = rng.random(count) < 1 / (1 + np.exp(-logits))
  return logits, positive


def test_equals_scikit_learn_on_100000_rows_in_any_batches():
  logits, positive = _drawn()
  state = PointwiseMetrics.empty()
  for rows in np.array_split(np.arange(len(logits)), 7):
    state = state.merge(
      PointwiseMetrics.from_batch(logits[rows], positive[rows])
    )
  found, p = state.compute(), 1 / (1 + np.exp(-logits))
  assert found["log_loss"] == pytest.approx(sk.log_loss(positive, p), abs=1e-9)
  rate = np.full(len(p), positive.mean())
  expected = sk.log_loss(positive, p) / sk.log_loss(positive, rate)
  assert found["ne"] == pytest.approx(expected, abs=1e-9)
  assert found["calibration"] == pytest.approx(p.sum() / positive.sum())


def test_the_base_rate_has_ne_1_and_calibration_1():
  positive = np.array([True, False, False, False])
  found = PointwiseMetrics.from_batch(_logit([0.25] * 4), positive).compute()
  assert found["ne"] == pytest.approx(1, abs=1e-12)
  assert found["calibration"] == pytest.approx(1)
  assert found["base_rate"] == 0.25


def test_one_class_and_nothing_are_undefined():
  found = PointwiseMetrics.from_batch(np.zeros(3), np.zeros(3, bool)).compute()
  assert found["ne"] is None and found["calibration"] is None
  assert found["log_loss"] == pytest.approx(np.log(2))
  assert set(PointwiseMetrics.empty().compute().values()) == {None}
  assert CalibrationMetrics.empty().compute() == {"ece": None}


def test_sure_and_wrong_is_finite_and_padding_may_be_nan():
  logits = np.array([[-2000.0, np.nan]], np.float32)
  positive, where = np.array([[True, False]]), np.array([[True, False]])
  found = PointwiseMetrics.from_batch(logits, positive, where=where).compute()
  assert found["log_loss"] == 2000
  with pytest.raises(ValueError, match="nan in row 1"):
    PointwiseMetrics.from_batch(logits[0], positive[0])


def test_the_curve_is_scikit_learns_and_ece_its_gap():
  logits, positive = _drawn(15_000)
  halves = np.array_split(np.arange(len(logits)), 2)
  a, b = (
    CalibrationMetrics.from_batch(logits[rows], positive[rows])
    for rows in halves
  )
  curve = a.merge(b).curve()
  p = 1 / (1 + np.exp(-logits))
  observed, predicted = calibration.calibration_curve(
    positive, p, n_bins=15, strategy="quantile"
  )
  np.testing.assert_allclose(curve["predicted"], predicted, atol=1e-6)
  np.testing.assert_allclose(curve["observed"], observed, atol=1e-6)
  assert curve["count"] == [1000] * 15
  gap = np.abs(observed - predicted).mean()
  assert a.merge(b).compute()["ece"] == pytest.approx(gap, abs=1e-6)


def test_equal_probabilities_share_a_bin_in_any_order():
  logits = np.array([0.0] * 50 + [1.0] * 50)
  positive = np.arange(100) % 2 == 0
  curves = [
    CalibrationMetrics.from_batch(logits[rows], positive[rows]).curve()
    for rows in (np.arange(100), np.arange(100)[::-1])
  ]
  assert curves[0] == curves[1]
  assert curves[0]["count"] == [50, 50]
