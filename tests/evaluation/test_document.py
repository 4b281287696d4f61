# SPDX-License-Identifier: Apache-2.0
"""The result document's names, files and text; its numbers: end_to_end."""

import dataclasses
import errno
import json
import os
import subprocess
import tempfile

import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.schema import Manifest
from genrec_jax.evaluation import (
  description,
  document as documents,
  next_item_results,
)
from genrec_jax.experiment.experiment import Run
from genrec_jax.metrics.slices import COLD


def _manifest(checksums: dict, **source) -> Manifest:
  values = {f.name: None for f in dataclasses.fields(Manifest)}
  values |= {"checksums": checksums, "options": {"source": source}}
  # Only these two fields are read; the rest has no place in this test.
  manifest = object.__new__(Manifest)
  for name, value in values.items():
    object.__setattr__(manifest, name, value)
  return manifest


@pytest.mark.parametrize(
  ("checksums", "source", "name"),
  [
    ({"ml-1m.zip": "x"}, {"name": "sources.MovieLens"}, "ml-1m"),
    (
      {"ML-1M-order-only.parquet": "x"},
      {"name": "sources.Files", "user": "user_id"},
      "ml-1m-order-only",
    ),
    (
      {"reviews.json.gz": "x", "meta.json.gz": "x"},
      {"name": "sources.Amazon2014", "category": "Beauty", "path": ""},
      "amazon2014-beauty",
    ),
    (
      {"My log-2024.csv.gz": "x", "items.csv": "x"},
      {
        "name": "sources.Files",
        "path": "/home/a/My log-2024.csv.gz",
        "user": "visitor",
        "quote": '"',
        "items_path": "items.csv",
      },
      "my-log-2024",
    ),
    (
      {"a/events.csv": "x", "b/events.csv": "x"},
      {"name": "sources.Files", "path": "*/events.csv"},
      "events",
    ),
    (
      {"日記.csv": "x"},
      {"name": "sources.Files", "path": "日記.csv"},
      "files",
    ),
    (
      {"reviews.json.gz": "x", "meta.json.gz": "x"},
      {"name": "sources.Amazon2014", "category": "Toys", "path": "/a/b"},
      "amazon2014-toys",
    ),
    (
      {"truth.npz": "x"},
      {"name": "simulator.Synthetic", "seed": 0},
      "synthetic",
    ),
  ],
)
def test_dataset_name(tmp_path, checksums, source, name):
  (tmp_path / "truth.npz").touch()
  assert (
    description.dataset_name(_manifest(checksums, **source), tmp_path) == name
  )


def test_split_rule_names_the_bounds():
  assert description.split_rule({"name": "data.LeaveOneOut"}) == "LeaveOneOut"
  split = {
    "name": "data.GlobalTime",
    "validation_start_seconds": 5,
    "validation_start": "2015-01-01T00:00:00",
    "test_start": "2015-02-01T00:00:00",
  }
  assert description.split_rule(split) == (
    "GlobalTime, validation_start 2015-01-01T00:00:00, test_start"
    " 2015-02-01T00:00:00"
  )


def test_system_name_is_the_backbone_or_the_system():
  system = {"name": "models.System", "backbone": {"name": "backbones.B"}}
  assert description.system_name({"system": system}) == "B"
  del system["backbone"]
  assert description.system_name({"system": system}) == "System"


def test_json_is_written_whole_or_not_at_all(tmp_path):
  path = tmp_path / "deep" / "a.json"
  documents.write_json(path, {"a": [1, "ä"]})
  assert json.loads(path.read_text("utf-8"))["a"] == [1, "ä"]
  with pytest.raises(ValueError, match="not JSON compliant"):
    documents.write_json(path, {"a": float("nan")})
  assert json.loads(path.read_text("utf-8"))["a"] == [1, "ä"]
  assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def _run(tmp_path, **changes) -> Run:
  config = {"name": "sasrec_any", "seed": 1, "optimizer": {"b2": 0.9}}
  manifest = _manifest({}, name="sources.Files")
  object.__setattr__(manifest, "fingerprint", "f0")
  histories = object.__new__(Histories)
  histories.manifest = manifest
  run = object.__new__(Run)
  for name, value in (
    ("workdir", tmp_path),
    ("config", config | changes),
    ("histories", histories),
  ):
    object.__setattr__(run, name, value)
  return run


def test_what_is_no_result_is_refused(tmp_path):
  run = _run(tmp_path)
  good = {"finished": "all 9 steps done", "baselines": True}
  documents.check_publishable(run, tmp_path, **good)
  with pytest.raises(ValueError, match="has not finished"):
    documents.check_publishable(run, tmp_path, **good | {"finished": ""})
  with pytest.raises(ValueError, match="--nobaselines"):
    documents.check_publishable(run, tmp_path, **good | {"baselines": False})
  quick = _run(tmp_path, name="sasrec_any-quicktest")
  with pytest.raises(ValueError, match="quick form"):
    documents.check_publishable(quick, tmp_path, **good)


def test_the_result_of_another_run_is_not_replaced(tmp_path):
  run = _run(tmp_path)
  good = {"finished": "all 9 steps done", "baselines": True}
  path = documents.result_path(tmp_path, run.config)
  assert path == tmp_path / "sasrec_any" / "1.json"
  there = {"fingerprint": "f0", "config_values": run.config}
  documents.write_json(path, there)
  documents.check_publishable(run, tmp_path, **good)
  # Called otherwise, it is the same run.
  documents.check_publishable(_run(tmp_path, title="SASRec"), tmp_path, **good)
  other = _run(tmp_path, optimizer={"b2": 0.8})
  with pytest.raises(ValueError, match=r"optimizer\.b2: 0\.9 there, 0\.8 now"):
    documents.check_publishable(other, tmp_path, **good)
  documents.write_json(path, there | {"fingerprint": "f1"})
  with pytest.raises(ValueError, match="fingerprint: 'f1' there, 'f0' now"):
    documents.check_publishable(run, tmp_path, **good)


def test_tables_show_every_ranker_and_say_what_intervals_are_over():
  values = {"hr@10": 0.25, "ndcg@10": 0.125}
  intervals = {"hr@10": [0.2, 0.3], "ndcg@10": [0.1, 0.2]}
  result = {
    "title": "HSTU",
    "metrics": {"test": values, "test_unfiltered": values},
    "intervals": {"test": intervals, "test_unfiltered": intervals},
    "baselines": {"most_popular": {"test": values}, "oracle": {"test": values}},
    "notes": ["one note"],
    "slices": {
      "test": {
        "item_popularity": {
          COLD: {
            "requests": 7,
            "share": 0.2,
            "items": 40,
            "hr@10": 0.05,
            "ndcg@10": 0.025,
          }
        }
      }
    },
  }
  text = next_item_results.table(result)
  rows = [line.split("  ")[0].strip() for line in text.splitlines()]
  for label in ("* test: HSTU", "note: one note"):
    assert label in rows
  assert "test: most_popular" in text and "test: oracle" in text
  assert "0.2500" in text
  cells = {line[:40].strip(): line[40:].split() for line in text.splitlines()}
  assert cells["7 of new items"] == ["0.0500", "0.0250"]
  # (.25 - .2 * .05) / .8 and (.125 - .2 * .025) / .8
  assert cells["all others"] == ["0.3000", "0.1500"]
  assert cells["by chance, of 40 new items alone"][0] == "0.2500"
  differences = {"hr@10": [0.1, 0.05, 0.2], "ndcg@10": [0.1, -0.05, 0.2]}
  against = {"config": "o", "seed": 1, "differences": {"test": differences}}
  head, *lines = next_item_results.comparison_table(against).splitlines()
  assert "over users" in head and "one seed each: no verdict" in head
  assert "95 % over users" in text
  assert [line[-17:] for line in lines] == [
    "+0.0500, +0.2000]",
    "-0.0500, +0.2000]",
  ]


def test_a_read_only_folder_is_named_with_what_to_do(tmp_path, monkeypatch):
  documents.check_writable(tmp_path)
  assert not list(tmp_path.iterdir())

  def refuse(*arguments, **options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
  with pytest.raises(ValueError, match=r"Read-only file system.*cp -r"):
    documents.check_writable(tmp_path)


def test_a_document_that_is_damaged_is_measured_again(tmp_path):
  path = tmp_path / "evaluation.json"
  documents.write_json(path, {"format": 2, "hr@10": 0.25})
  assert documents.read(tmp_path) == {"format": 2, "hr@10": 0.25}
  path.write_text(path.read_text().replace("0.25", "0.35"))
  with pytest.raises(
    ValueError, match=r"evaluation\.json is damaged.*Run genrec eva"
  ):
    documents.read(tmp_path)


def test_a_document_of_another_version_is_measured_again(tmp_path):
  with pytest.raises(ValueError, match="run genrec evaluate --workdir"):
    documents.read(tmp_path)
  for values in ({"metrics": {}}, {"format": 3}):
    documents.write_json(tmp_path / "evaluation.json", values)
    with pytest.raises(ValueError, match="and this version reads 2. Run"):
      documents.read(tmp_path)


def test_the_commit_is_of_the_checkout_that_tracks_the_code(
  tmp_path, monkeypatch
):
  file = tmp_path / "venv" / "description.py"
  file.parent.mkdir()
  file.touch()
  monkeypatch.setattr(description, "__file__", str(file))

  def git(*arguments):
    names = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(tmp_path), *names, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()

  assert description._commit() == ("unknown", False)
  git("init")
  (tmp_path / "other.txt").touch()
  git("add", "other.txt")
  git("commit", "-m", "of something else")
  (tmp_path / "other.txt").write_text("changed")
  # An installed package within somebody's checkout.
  assert description._commit() == ("unknown", False)
  git("add", ".")
  git("commit", "-m", "all")
  assert description._commit() == (git("rev-parse", "HEAD"), False)
  file.write_text("changed")
  assert description._commit() == (git("rev-parse", "HEAD"), True)
