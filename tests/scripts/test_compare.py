# SPDX-License-Identifier: Apache-2.0
"""Comparing evaluated runs: impressions are matched, seeds are counted."""

import json
import pathlib

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from genrec_jax.cli import compare
from genrec_jax.evaluation.ranks import Ranks
from genrec_jax.evaluation.scores import Scores
from genrec_jax.report import comparison

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


def _save(folder, found, name="scores.npz", seed=0, config="a"):
  folder.mkdir()
  found.save(folder / name)
  document = {"config": config, "seed": seed}
  (folder / "evaluation.json").write_text(json.dumps(document))
  return str(folder)


def _auc(scores):
  labels = scores.columns["test/labels"]
  return roc_auc_score(labels, scores.columns["test/logits/model"][:, 0])


def test_seeds_are_matched_by_impression_and_counted(tmp_path):
  shuffled = np.random.default_rng(9).permutation(_COUNT)
  ours = [_scores(1), _scores(2, shuffled)]
  theirs = [_scores(3, quality=0.2), _scores(4, quality=0.3)]
  folders = [
    [
      _save(tmp_path / f"{side}{i}", s, seed=i, config=side)
      for i, s in enumerate(runs)
    ]
    for side, runs in (("a", ours), ("a-x", theirs))
  ]
  # Seeds are matched whatever the order of the workdirs.
  found = compare.compared(folders[0], folders[1][::-1])
  line = json.loads(comparison.line_of(found))
  auc = line["differences"]["click"]["auc"]
  aucs = [[_auc(s) for s in side] for side in (ours, theirs)]
  assert auc["difference"] == pytest.approx(
    np.mean(aucs[0]) - np.mean(aucs[1]), abs=1e-9
  )
  t = stats.ttest_rel(*aucs)
  assert auc["p_over_seeds"] == pytest.approx(t.pvalue)
  assert auc["over_seeds"] == pytest.approx(list(t.confidence_interval()))
  low, high = auc["over_users"]
  assert 0 < low < auc["difference"] < high
  assert auc["over_both"][0] < low and high < auc["over_both"][1]
  assert line["ours"]["seeds"] == line["theirs"]["seeds"] == [0, 1]


def test_one_seed_each_is_no_verdict(tmp_path):
  sides = [
    [_save(tmp_path / str(i), _scores(i, quality=q), config=str(i))]
    for i, q in enumerate((1.0, 0.2))
  ]
  found = compare.compared(*sides)
  text = comparison.table_of(found)
  assert "One seed each: no verdict over seeds." in text
  assert "ahead" not in text
  (auc,) = (row for row in found.rows if row.metric == "auc")
  assert auc.users.low > 0 and auc.seeds is auc.both is None


def test_runs_of_other_data_are_refused(tmp_path):
  ours = [_save(tmp_path / "a", _scores(1))]
  theirs = [_save(tmp_path / "b", _scores(1, fingerprint="g"))]
  with pytest.raises(ValueError, match="prepared"):
    compare.compared(ours, theirs)
  with pytest.raises(ValueError, match="no .*evaluation.json: run genrec eva"):
    compare.compared(ours, [str(tmp_path)])
  (tmp_path / "evaluation.json").write_text('{"config": "b", "seed": 1}')
  with pytest.raises(ValueError, match="a: scores.npz\n.*: not evaluated"):
    compare.compared(ours, [str(tmp_path)])


def test_a_task_that_means_something_else_is_refused(tmp_path):
  """Or the answer would depend on which of the two is named first."""
  other = _scores(2)
  other.columns["test/labels"][::7] ^= 1
  folders = [_save(tmp_path / "a", _scores(1)), _save(tmp_path / "b", other)]
  with pytest.raises(ValueError, match="something else by 'click'"):
    compare.compared(folders[:1], folders[1:])


def _ranks(seed, best=1):
  rng = np.random.default_rng(seed)
  columns = {
    "users": np.arange(_COUNT) // 2,
    "events": np.arange(_COUNT) % 2,
    "targets": np.arange(_COUNT),
    "ranks/model": rng.integers(best, 40, _COUNT),
  }
  return Ranks("f", (5, 10), {f"test/{n}": c for n, c in columns.items()})


def test_of_what_finds_items_ranks_are_compared(tmp_path):
  sides = [[_ranks(1), _ranks(2)], [_ranks(3, best=9)]]
  folders = [
    [
      _save(tmp_path / f"{i}{j}", r, "ranks.npz", seed=j, config=str(i))
      for j, r in enumerate(side)
    ]
    for i, side in enumerate(sides)
  ]
  found = compare.compared(*folders)
  (hr,) = (row for row in found.rows if row.metric == "hr@10")
  hits = [
    np.mean([np.mean(r.columns["test/ranks/model"] <= 10) for r in side])
    for side in sides
  ]
  assert hr.mean == pytest.approx(hits[0] - hits[1])
  assert hr.users.mean == pytest.approx(hr.mean) and hr.users.low > 0
  assert hr.section == "next item" and hr.verdict == comparison.NO_VERDICT
  assert found.primary == ("next item", "ndcg@10")
  with pytest.raises(ValueError, match="no 'model_frozen' on 'test' in common"):
    compare.compared(*folders, ranker="model_frozen")
  with pytest.raises(
    ValueError, match=r"--ours: .*00 and .*00 are both seed 0"
  ):
    compare.compared(folders[0][:1] * 2, folders[1])
  with pytest.raises(ValueError, match="--ours names several configs"):
    compare.compared([folders[0][1], *folders[1]], folders[1])
  with pytest.raises(ValueError, match="--theirs names no workdir"):
    compare.compared(folders[0], [])
  with pytest.raises(ValueError, match="no evaluation in common"):
    compare.compared([_save(tmp_path / "a", _scores(1))], folders[1])
  # Where one kind of file alone has a ranker, the other says nothing of it.
  (tmp_path / "10" / "scores.npz").hardlink_to(
    pathlib.Path(_save(tmp_path / "s", _scores(1))) / "scores.npz"
  )
  (tmp_path / "00" / "scores.npz").hardlink_to(tmp_path / "s" / "scores.npz")
  both = compare.compared(folders[0][:1], folders[1])
  assert {row.section for row in both.rows} == {"next item", "click"}


def _finished(folder, config, values, fingerprint="f", **more):
  for seed, auc in values.items():
    scored = {"auc": auc, "gauc": None, "ne": 1 - auc, "log_loss": 0.5}
    document = {
      "config": config,
      "seed": seed,
      "fingerprint": fingerprint,
      "tasks": ["click"],
      "metrics": {"test": {"click": scored}},
      "frozen": {"test": {"click": scored | {"auc": 2 * auc - 1}}},
    } | more
    path = folder / config / f"{seed}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))


def test_finished_runs_are_compared_over_seeds(tmp_path):
  a, b = {0: 0.71, 1: 0.72, 10: 0.74}, {0: 0.7, 1: 0.69}
  _finished(tmp_path, "a", a)
  _finished(tmp_path, "b", b)
  options = {"results": str(tmp_path)}
  found = compare.compared(["a"], ["b"], **options)
  assert found.ours.seeds == (0, 1, 10) and found.theirs.seeds == (0, 1)
  auc = found.rows[0]
  expected = stats.ttest_ind(
    list(a.values()), list(b.values()), equal_var=False
  ).confidence_interval()
  assert (auc.seeds.low, auc.seeds.high) == pytest.approx(tuple(expected))
  assert auc.users is auc.both is None
  # A metric that is not defined is left out.
  assert {row.metric for row in found.rows} == {"auc", "ne", "log_loss"}
  frozen = compare.compared(["a"], ["a"], ranker="model_frozen", **options)
  assert frozen.rows[0].mean == 0 and frozen.rows[0].seeds.paired
  frozen = compare.compared(["a"], ["b"], ranker="model_frozen", **options)
  assert frozen.rows[0].mean == pytest.approx(2 * auc.mean)


def test_of_a_system_that_does_both_all_is_compared(tmp_path):
  metrics = {"test": {"ndcg@10": 0.2}}
  scored = {"auc": 0.7, "gauc": 0.6, "ne": 0.9, "log_loss": 0.5}
  ranking = {"tasks": ["liked"], "metrics": {"test": {"liked": scored}}}
  folder = tmp_path / "both"
  folder.mkdir()
  for seed in range(2):
    document = {"seed": seed, "fingerprint": "f", "metrics": metrics}
    (folder / f"{seed}.json").write_text(
      json.dumps(document | {"ranking": ranking})
    )
  found = compare.compared(["both"], ["both"], results=str(tmp_path))
  assert found.primary == ("next item", "ndcg@10")
  assert [row.section for row in found.rows] == ["next item"] + ["liked"] * 4


def test_results_that_cannot_be_compared_are_named(tmp_path):
  _finished(tmp_path, "a", {0: 0.7})
  _finished(tmp_path, "other", {0: 0.7}, fingerprint="g")
  options = {"results": str(tmp_path)}
  for sides, more, message in (
    ((["a"], ["other"]), {}, "different prepared data"),
    ((["a"], ["othr"]), {}, "no finished run of 'othr'.*mean 'other'"),
    ((["a", "other"], ["a"]), {}, "--ours=a,other: with --results"),
    ((["a"], ["a"]), {"ranker": "item_rate"}, "holds no 'item_rate'"),
    ((["a"], ["a"]), {"part": "validation"}, "no metric of 'model'"),
  ):
    with pytest.raises(ValueError, match=message):
      compare.compared(*sides, **options, **more)
