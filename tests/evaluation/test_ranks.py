# SPDX-License-Identifier: Apache-2.0
"""ranks.npz: what is written is read, and only equal requests are paired."""

import dataclasses

import numpy as np
import pytest

from genrec_jax.evaluation.full_ranking import Evaluation
from genrec_jax.evaluation.ranks import Ranks, compare
from genrec_jax.metrics.ranking import MISS, RankingMetrics

_KS = (1, 10)


def _evaluation(ranks, users=None) -> Evaluation:
  ranks = np.array(ranks, np.int32)
  count = len(ranks)
  return Evaluation(
    metrics=RankingMetrics.from_batch(ranks, _KS).compute(),
    ranks_R=ranks,
    users_R=np.arange(count) if users is None else users,
    events_R=np.full(count, 4),
    targets_R=np.arange(1, count + 1),
    lengths_R=np.full(count, 4),
    repeats_R=np.zeros(count, bool),
    gaps_R=np.full(count, -1),
    ks=_KS,
    seconds=0.0,
  )


def test_round_trip(tmp_path):
  ranks = Ranks.of(
    "f00d",
    {
      "test": {
        "model": _evaluation([1, 5]),
        "baseline": _evaluation([2, MISS]),
      },
      "validation": {"model": _evaluation([3, 3, 3])},
    },
  )
  ranks.save(tmp_path / "ranks.npz")
  assert [p.name for p in tmp_path.iterdir()] == ["ranks.npz"]
  read = Ranks.load(tmp_path / "ranks.npz")
  assert read.fingerprint == "f00d"
  assert read.ks == _KS
  assert read.parts == ("test", "validation")
  assert read.names("test") == ("model", "baseline")
  for name, column in ranks.columns.items():
    np.testing.assert_array_equal(read.columns[name], column)


def test_comparison_is_paired_and_signed():
  rng = np.random.default_rng(0)
  worse = rng.integers(2, 12, 400)
  a = Ranks.of("x", {"test": {"model": _evaluation(worse - 1)}})
  b = Ranks.of("x", {"test": {"model": _evaluation(worse)}})
  found = compare(a, b, "test", "model", "model")
  assert found["ndcg@10"].low > 0
  assert found["ndcg@10"].mean == pytest.approx(
    a_metric(a)["ndcg@10"] - a_metric(b)["ndcg@10"]
  )
  assert compare(b, a, "test", "model", "model")["ndcg@10"].high < 0
  same = compare(a, a, "test", "model", "model")["hr@10"]
  assert same.low == same.mean == same.high == 0


def a_metric(ranks: Ranks) -> dict[str, float]:
  return RankingMetrics.from_batch(
    ranks.columns["test/ranks/model"], _KS
  ).compute()


def test_what_cannot_be_paired_is_refused():
  a = Ranks.of("aaaa", {"test": {"model": _evaluation([1, 2])}})
  other_data = dataclasses.replace(a, fingerprint="bbbb")
  with pytest.raises(ValueError, match="different prepared data"):
    compare(a, other_data, "test", "model", "model")
  with pytest.raises(ValueError, match="no ranks of 'baseline'"):
    compare(a, a, "test", "model", "baseline")
  with pytest.raises(ValueError, match="no ranks .* there are none"):
    compare(a, a, "validation", "model", "model")
  with pytest.raises(ValueError, match="other requests"):
    Ranks.of(
      "x",
      {
        "test": {
          "model": _evaluation([1, 2]),
          "baseline": _evaluation([1, 2], users=np.array([4, 5])),
        }
      },
    )


def test_absent_file_says_what_to_run(tmp_path):
  with pytest.raises(ValueError, match=r"genrec evaluate --workdir"):
    Ranks.load(tmp_path / "ranks.npz")
