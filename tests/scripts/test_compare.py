# SPDX-License-Identifier: Apache-2.0
"""Pairing evaluated rankers: impressions are matched, seeds averaged."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.train.scores import Scores
from scripts import compare

_COUNT = 400


def _scores(seed, order=None, fingerprint="f", quality=1.0):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, _COUNT).astype(np.int32)
  noise = np.random.default_rng(seed).normal(size=(_COUNT, 1))
  columns = {
    "users": np.repeat(np.arange(_COUNT // 4), 4),
    "events": np.tile(np.arange(4), _COUNT // 4),
    "items": rng.integers(1, 9, _COUNT),
    "labels": labels,
    "lengths": np.zeros(_COUNT, np.int32),
    "logits/model": (quality * labels[:, None] + noise).astype(np.float32),
  }
  order = np.arange(_COUNT) if order is None else order
  parts = {f"test/{name}": column[order] for name, column in columns.items()}
  return Scores(fingerprint, ("click",), parts)


def _save(folder, scores):
  folder.mkdir()
  scores.save(folder / "scores.npz")
  return str(folder)


def _auc(scores):
  labels = scores.columns["test/labels"]
  return roc_auc_score(labels, scores.columns["test/logits/model"][:, 0])


def test_seeds_are_matched_by_impression_and_averaged(tmp_path):
  shuffled = np.random.default_rng(9).permutation(_COUNT)
  ours = [_scores(1), _scores(2, shuffled)]
  theirs = [_scores(3, quality=0.2)]
  folders = [
    [_save(tmp_path / f"{side}{i}", s) for i, s in enumerate(runs)]
    for side, runs in (("ours", ours), ("theirs", theirs))
  ]
  found = compare.differences(*folders)
  mean, low, high = json.loads(compare.line_of(found))["click"]["auc"]
  expected = np.mean([_auc(s) for s in ours]) - _auc(theirs[0])
  assert mean == pytest.approx(expected, abs=1e-9)
  assert 0 < low < mean < high
  assert "excludes 0" in compare.table_of(found)


def test_runs_of_other_data_are_refused(tmp_path):
  ours = [_save(tmp_path / "a", _scores(1))]
  theirs = [_save(tmp_path / "b", _scores(1, fingerprint="g"))]
  with pytest.raises(ValueError, match="prepared"):
    compare.differences(ours, theirs)
  with pytest.raises(ValueError, match="scores.npz.*evaluate.py"):
    compare.differences(ours, [str(tmp_path)])
