# SPDX-License-Identifier: Apache-2.0
"""What people have on disk is read by every later version.

tests/stored holds a workdir and a table of item codes as this format's first
version wrote them:

    scripts/train.py --config=configs/hstu_movielens.py:quicktest \
        --config.data.num_users=30 --config.data.num_items=40 \
        --config.system.width=8 --config.train.keep_checkpoints=1
    scripts/tokenize_items.py --config=configs/rqkmeans_amazon.py:quicktest \
        --config.data.num_users=30

A failure here means that a stored name or format is lost: bring it back, or
raise the format, refuse the old one by name, and make both folders anew.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

import genrec_jax
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import names
from genrec_jax.evaluation import document as documents
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.semantic_ids import ItemTokens
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_STORED = _ROOT / "tests" / "stored"


@pytest.fixture
def workdir(tmp_path):
  return shutil.copytree(_STORED / "run", tmp_path / "run")


def _names(node):
  """Every public name that a JSON value holds."""
  if isinstance(node, dict):
    for key, value in node.items():
      if key in ("name", "kind") and isinstance(value, str) and "." in value:
        yield value
      else:
        yield from _names(value)
  elif isinstance(node, list):
    for value in node:
      yield from _names(value)


def test_every_name_on_disk_is_offered():
  found = {
    name
    for path in _STORED.rglob("*.json")
    for name in _names(json.loads(path.read_text("utf-8")))
  }
  assert {"layouts.NextItem", "quantizers.ResidualCodes"} <= found
  for name in found:
    assert names.resolve(name, "stored").__name__ == name.split(".")[1]


def test_a_stored_workdir_is_opened_evaluated_and_used(workdir):
  run = Run.open(workdir)
  evaluators = documents.chosen(run)
  document, kept = documents.measure(
    run, load_params(run), evaluators, baselines=False
  )
  assert list(kept) == ["ranks.npz"]
  # Its config is of before there were titles.
  assert document["title"] == run.name == "hstu_movielens-quicktest"
  assert 0 <= document["sections"]["next_item"]["metrics"]["test"]["hr@10"] <= 1
  model = genrec_jax.load(workdir)
  assert len(model.recommend(user=model.users.ids[0], k=5)) == 5


def test_a_stored_workdir_is_resumed(workdir):
  config = _ROOT / "configs" / "hstu_movielens.py"
  done = commands.run(
    [
      str(_ROOT / "scripts" / "train.py"),
      f"--config={config}:quicktest",
      f"--workdir={workdir}",
      "--config.data.num_users=30",
      "--config.data.num_items=40",
      "--config.system.width=8",
      "--config.train.keep_checkpoints=1",
      "--config.train.steps=4",
    ]
  )
  assert done.returncode == 0, done.stderr
  assert "resuming at step 3 of 4" in done.stdout


def test_a_stored_table_of_codes_still_means_what_it_meant(tmp_path):
  folder = shutil.copytree(_STORED / "codes", tmp_path / "codes")
  tokens = ItemTokens.load(folder / "tokens")
  vectors = ItemVectors.load(folder / "vectors")
  assert len(np.unique(tokens.codes[1:], axis=0)) == len(tokens.codes) - 1
  # The codes are the stored tokenizer's, up to the level that tells apart.
  found = tokens.tokenizer().encode(vectors.for_catalog(tokens.item_ids)[1:])
  levels = found.shape[1]
  np.testing.assert_array_equal(tokens.codes[1:, :levels], found)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"format": "2"}, "its format is no number"),
    ({"format": 3}, "was written by a newer version .*upgrade the package"),
    ({"format": 1}, "was written by an earlier version .*another --workdir"),
  ],
)
def test_a_workdir_of_another_version_is_refused(workdir, change, said):
  path = workdir / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(ValueError, match=said):
    Run.open(workdir)


def test_a_workdir_of_before_is_refused_by_the_public_name(workdir):
  path = workdir / "config.json"
  config = json.loads(path.read_text())
  del config["format"]
  config["pipeline"]["layout"]["name"] = "data.layouts.NextItem"
  path.write_text(json.dumps(config))
  with pytest.raises(
    ValueError, match="layout.name='data.layouts.NextItem' .*'layouts.NextItem'"
  ):
    Run.open(workdir)
