# SPDX-License-Identifier: Apache-2.0
"""Fitted features that were written and read are what they were."""

import json

import numpy as np
import pytest

from genrec_jax.data import GlobalTime
from genrec_jax.data.dataset import Catalog
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.features import (
  AtLeast,
  ByType,
  Feature,
  Hashed,
  LogBuckets,
  Percentiles,
  Vocabulary,
)
from genrec_jax.data.features.features import fit_features
from genrec_jax.data.features.moments import Clock, Moments
from genrec_jax.data.features.stored_features import (
  StoredFeatures,
  encoder_of,
  key_of,
  state_of,
)
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic

_NUMBERS = np.array([0.1, 2.5, 2.5, 2.5, 1e9, -3.0, np.nan, 0.3, 1 / 3])
_TEXTS = np.array(["a", "b", "a", "", None, "ü"], object)


@pytest.mark.parametrize(
  ("encoder", "values"),
  [
    (Vocabulary(3, min_count=2), _TEXTS),
    (Vocabulary(4), _NUMBERS),
    (Hashed(5), _TEXTS),
    (Percentiles(3), _NUMBERS),
    (Percentiles(3), np.array([np.nan])),
    (ByType(size=2, buckets=2), _TEXTS),
    (ByType(size=2, buckets=2), _NUMBERS),
    (LogBuckets(6, unit=0.5), _NUMBERS),
    (AtLeast(2.5), _NUMBERS),
  ],
)
def test_an_encoder_is_read_as_it_was(encoder, values):
  fitted = encoder.fit(values, np.ones(len(values), np.int64))
  again = encoder_of(json.loads(json.dumps(state_of(fitted))))
  asked = np.concatenate([values, values[:1]])
  if values.dtype != object:
    asked = np.concatenate([asked, np.nextafter(values, 9), [7.0, -7.0]])
  else:
    asked[-1] = "unseen"
  np.testing.assert_array_equal(again.ids(asked), fitted.ids(asked))


def test_an_encoder_of_another_kind_is_refused():
  class Own:
    def ids(self, values):
      return values

    def num_unseen(self, values):
      return 0

  with pytest.raises(ValueError, match="the encoder Own cannot be stored"):
    state_of(Own())


def test_features_are_the_same_without_the_histories(tmp_path):
  data = tmp_path / "data"
  prepare(Synthetic(num_users=15, num_items=20, seed=0), GlobalTime(), data)
  histories, catalog = Histories(data), Catalog(data)
  feedback = Feedback(("cart",)).bind(histories.manifest.actions)
  clock = Clock(histories.manifest.epoch_seconds, 3.0)
  features = tuple(
    Feature(name, encoder)
    for name, encoder in (
      ("item.category", Vocabulary(5)),
      ("user.id", Hashed(7)),
      ("context.hour", Vocabulary(24)),
      ("context.past_cart", Percentiles(4)),
      ("affinity.category", LogBuckets(3)),
      ("recent.id.7", Percentiles(5)),
      ("age.id", LogBuckets(12, unit=3600.0)),
      ("window.id.30d.cart", Percentiles(4)),
    )
  )
  fitted = fit_features(
    features, feedback, histories, catalog, Users(data), clock
  )
  stored = StoredFeatures.of(fitted, features, histories)
  read = StoredFeatures(json.loads(json.dumps(stored.values)), stored.arrays)
  again = read.fitted(features, feedback, catalog, clock)
  np.testing.assert_array_equal(again.items, fitted.items)
  np.testing.assert_array_equal(again.users, fitted.users)
  assert again.unseen == fitted.unseen and fitted.users.any()
  seen = set()
  for user in range(len(histories)):
    record = histories[user]
    moments = Moments.of_events(record, np.arange(len(record["item"])))
    rows = fitted.context(moments)
    np.testing.assert_array_equal(again.context(moments), rows)
    seen |= {(column, row) for x in rows for column, row in enumerate(x)}
  # Each feature takes several values, or nothing was compared.
  assert {c for c, _ in seen if sum(k == c for k, _ in seen) > 1} == {*range(6)}
  other = Clock(clock.epoch_seconds, 0.0)
  keys = [key_of(features, feedback, c) for c in (clock, other)]
  assert keys[0] != keys[1] != key_of(features[:2], feedback, other)
