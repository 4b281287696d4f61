# SPDX-License-Identifier: Apache-2.0
"""Incremental recall against Python's sets."""

import numpy as np
import pytest

from genrec_jax.metrics.incremental_recall import per_request

_V, _B = 12, 60


def _case(seed, k):
  """Lists of the whole catalogue, of few items, in any order."""
  rng = np.random.default_rng(seed)
  every = np.argsort(rng.random((_B, _V)), axis=1) + 1
  ensemble = np.argsort(rng.random((_B, _V)), axis=1)[:, :7] + 1
  # Some ensembles return less.
  short = rng.integers(0, 8, _B)
  ensemble[np.arange(7)[None] >= short[:, None]] = 0
  relevant = np.argsort(rng.random((_B, _V)), axis=1)[:, :3] + 1
  relevant[:, 1:][rng.random((_B, 2)) < 0.4] = 0
  scores = np.tile(-np.arange(_V + 1.0), (_B, 1))
  return every[:, : k + 1], scores[:, : k + 1], ensemble, relevant


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("k", "slots"), [(1, 1), (5, 2), (5, 0), (6, 6)])
def test_recalls_are_those_of_sets(seed, k, slots):
  ids, scores, ensemble, relevant = _case(seed, k)
  found = per_request(ids, scores, ensemble, relevant, k, slots)
  for b in range(_B):
    wanted = {*relevant[b].tolist()} - {0}
    e_list = [i for i in ensemble[b].tolist() if i][:k]
    new, e = ids[b, :k].tolist(), {*e_list}
    kept = e_list[: k - slots]
    rest = [i for i in new if i not in kept]
    fixed = {*kept, *rest[: k - len(kept)]}
    sizes = {
      "ensemble": len(e & wanted),
      "model": len({*new} & wanted),
      "union": len((e | {*new}) & wanted),
      "fixed": len(fixed & wanted),
    }
    sizes["r_inc"] = sizes["union"] - sizes["ensemble"]
    sizes["r_inc_fixed"] = sizes["fixed"] - sizes["ensemble"]
    for name, size in sizes.items():
      assert found[f"{name}@{k}"][b] == pytest.approx(size / len(wanted))
    assert len(fixed) <= k
  assert (found[f"r_inc_fixed@{k}"] <= found[f"r_inc@{k}"] + 1e-12).all()
  assert (found[f"r_inc@{k}"] >= 0).all()
  if slots:
    assert found[f"r_inc@{k}"].any() and found[f"r_inc_fixed@{k}"].any()


def test_identical_lists_add_nothing_and_disjoint_ones_add_all():
  ids, scores, _, relevant = _case(5, 6)
  same = per_request(ids, scores, ids[:, :6], relevant, 6, 3)
  assert not same["r_inc@6"].any() and not same["r_inc_fixed@6"].any()
  every = np.arange(1, _V + 1)
  other = np.stack([np.setdiff1d(every, row[:6]) for row in ids])
  apart = per_request(ids, scores, other, relevant, 6, 3)
  sums = apart["ensemble@6"] + apart["model@6"]
  np.testing.assert_allclose(apart["union@6"], sums)
  np.testing.assert_allclose(apart["r_inc@6"], apart["model@6"])
  assert apart["r_inc@6"].any()


def test_ties_count_against_the_new_list():
  ids = np.array([[1, 2, 3, 4]])
  one = np.array([[9]])
  for scores, target, wanted in (
    ([[3.0, 3.0, 3.0, 3.0]], 1, 0.0),  # A constant scorer finds nothing.
    ([[3.0, 3.0, 2.0, 1.0]], 1, 1.0),
    ([[3.0, 2.0, 2.0, 1.0]], 3, 1.0),
    ([[3.0, 2.0, 1.0, 1.0]], 3, 0.0),  # The run may go on outside.
    ([[np.nan, 2.0, 1.0, 0.5]], 1, 0.0),
  ):
    found = per_request(ids, np.array(scores), one, np.array([[target]]), 3, 3)
    assert found["model@3"] == found["union@3"] == wanted
    # With all three places replaced, the list is the model's.
    assert found["fixed@3"] == wanted


def test_what_makes_no_sense_is_refused():
  ids, scores, ensemble, relevant = _case(0, 5)
  with pytest.raises(ValueError, match="slots=6 must be from 0 to the k=5"):
    per_request(ids, scores, ensemble, relevant, 5, 6)
  with pytest.raises(ValueError, match="lists of 6 places cannot tell ties"):
    per_request(ids, scores, ensemble, relevant, 6, 1)
  relevant[3] = 0
  with pytest.raises(ValueError, match="request 3 has no relevant item"):
    per_request(ids, scores, ensemble, relevant, 5, 1)
