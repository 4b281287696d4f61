# SPDX-License-Identifier: Apache-2.0
"""Pairing evaluated rankers: impressions are matched, seeds averaged."""

import json
import pathlib

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.evaluation.scores import Scores
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


def _save(folder, found, name="scores.npz"):
  folder.mkdir()
  found.save(folder / name)
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
  with pytest.raises(ValueError, match="a: scores.npz\n.*: not evaluated"):
    compare.differences(ours, [str(tmp_path)])


def test_a_task_that_means_something_else_is_refused(tmp_path):
  """Or the answer would depend on which of the two is named first."""
  other = _scores(2)
  other.columns["test/labels"][::7] ^= 1
  folders = [_save(tmp_path / "a", _scores(1)), _save(tmp_path / "b", other)]
  with pytest.raises(ValueError, match="something else by 'click'"):
    compare.differences(folders[:1], folders[1:])


def _ranks(seed, best=1):
  rng = np.random.default_rng(seed)
  columns = {
    "users": np.arange(_COUNT) // 2,
    "events": np.arange(_COUNT) % 2,
    "targets": np.arange(_COUNT),
    "ranks/model": rng.integers(best, 40, _COUNT),
  }
  return Ranks("f", (5, 10), {f"test/{n}": c for n, c in columns.items()})


def test_of_what_finds_items_ranks_are_compared_seeds_averaged(tmp_path):
  sides = [[_ranks(1), _ranks(2)], [_ranks(3, best=9)]]
  folders = [
    [_save(tmp_path / f"{i}{j}", r, "ranks.npz") for j, r in enumerate(side)]
    for i, side in enumerate(sides)
  ]
  found = compare.differences(*folders)["next item"]
  hits = [
    np.mean([np.mean(r.columns["test/ranks/model"] <= 10) for r in side])
    for side in sides
  ]
  assert found["hr@10"].mean == pytest.approx(hits[0] - hits[1])
  assert found["hr@10"].low > 0
  with pytest.raises(ValueError, match="no 'model_frozen' on 'test' in common"):
    compare.differences(*folders, ranker="model_frozen")
  with pytest.raises(ValueError, match="--ours names .*00 twice"):
    compare.differences(folders[0][:1] * 2, folders[1])
  with pytest.raises(ValueError, match="--theirs names no workdir"):
    compare.differences(folders[0], [])
  with pytest.raises(ValueError, match="no evaluation in common"):
    compare.differences([_save(tmp_path / "a", _scores(1))], folders[1])
  # Where one kind of file alone has a ranker, the other says nothing of it.
  (tmp_path / "10" / "scores.npz").hardlink_to(
    pathlib.Path(_save(tmp_path / "s", _scores(1))) / "scores.npz"
  )
  (tmp_path / "00" / "scores.npz").hardlink_to(tmp_path / "s" / "scores.npz")
  both = compare.differences(folders[0][:1], folders[1])
  assert both.keys() == {"next item", "click"}
