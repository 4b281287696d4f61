# SPDX-License-Identifier: Apache-2.0
"""Metrics of lists against the values that RecTools 0.19.0 gives.

beyond_rectools.json holds 14 random lists of 6 places over 16 items (NumPy's
default_rng(19)) with repeats, short lists, an empty place within a list, an
empty list, items of unknown content (vectors of zeros) and 4 cold items, the
training histories of 9 users with repeated events and many ties of popularity,
and RecTools' values for k = 1, 3 and 6; null = it has no value for the list.

To make the values again: RecTools wants numpy below 2 under Python 3.11, so
install rectools==0.19.0 into an environment of its own. `reco` is a row (user,
item, rank = place) for every filled place, `prev` one (user, item) for every
training event, `test` one for every list's target. Then calc_per_user(k) of
    MeanInvUserFreq(reco, prev), AvgRecPopularity(reco, prev),
    IntraListDiversity(reco), once with PairwiseHammingDistanceCalculator over
      `features` and once with a PairwiseDistanceCalculator of 1 - cosine over
      `vectors` (0 / 0 = NaN: unknown),
    Serendipity(reco, test, prev, range(1, 17)),
    SufficientReco(deep=True) and UnrepeatedReco(deep=True),
and `calc` of the means and of CatalogCoverage(normalize=True).
"""

import functools
import json
import pathlib

import numpy as np
import pytest

from genrec_jax.metrics import lists as list_arrays
from genrec_jax.metrics.beyond import BeyondAccuracyMetrics
from genrec_jax.metrics.item_counts import ItemCounts
from genrec_jax.metrics.item_facts import ItemFacts
from genrec_jax.metrics.list_diversity import (
  hamming_distances,
  intra_list_diversity,
)

_FILE = pathlib.Path(__file__).with_name("beyond_rectools.json")
_OF_LISTS = ("miuf", "arp", "serendipity", "filled", "unrepeated")
_HINT = (
  "differs from RecTools 0.19.0: a convention of metrics/ has changed. Do not"
  " store other values unless a newer RecTools gives them (see the docstring)"
)


@functools.cache
def _golden():
  golden = json.loads(_FILE.read_text("utf-8"))
  items = ItemFacts(
    ItemCounts.from_batch(
      [np.array(h) for h in golden["train"]], golden["num_items"]
    ),
    np.array(golden["vectors"], np.float32),
  )
  state = BeyondAccuracyMetrics.from_batch(
    np.array(golden["lists"]),
    np.array(golden["targets"]),
    [np.zeros(0, np.int32)] * len(golden["lists"]),
    items,
    ks=(1, 3, 6),
  )
  return golden, state


def _check(got, expected, name):
  expected = np.array(expected, np.float64)  # None becomes NaN.
  np.testing.assert_allclose(
    got, expected, rtol=1e-12, atol=1e-12, err_msg=f"{name} {_HINT}"
  )


@pytest.mark.parametrize("k", [1, 3, 6])
def test_every_list_as_rectools(k):
  golden, state = _golden()
  expected = golden["values"][str(k)]
  values = state.values()
  for name in _OF_LISTS:
    got = values[f"{name}@{k}"]
    if name == "filled":  # RecTools does not know of a list without items.
      got = np.where(np.any(np.array(golden["lists"]) > 0, axis=1), got, np.nan)
    _check(got, expected[name], name)
  _check(values[f"ild@{k}"], expected["ild_cosine"], "ild")


@pytest.mark.parametrize("k", [1, 3, 6])
def test_hamming_diversity_as_rectools(k):
  golden, _ = _golden()
  first = list_arrays.first_places(np.array(golden["lists"]), k, 16)
  features = np.array(golden["features"], np.float32)
  got = intra_list_diversity(first, features, hamming_distances)
  _check(got, golden["values"][str(k)]["ild_hamming"], "ild")


@pytest.mark.parametrize("k", [1, 3, 6])
def test_means_as_rectools(k):
  golden, state = _golden()
  expected = golden["values"][str(k)]
  computed = state.compute()
  for name in ("miuf", "arp", "serendipity"):
    _check(computed[f"{name}@{k}"], expected[f"mean_{name}"], name)
  _check(computed[f"ild@{k}"], expected["mean_ild_cosine"], "ild")
  _check(computed[f"coverage@{k}"], expected["coverage"], "coverage")
