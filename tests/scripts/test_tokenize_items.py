# SPDX-License-Identifier: Apache-2.0
"""scripts/tokenize_items.py, as a user calls it, and the stages behind it."""

import dataclasses
import json
import pathlib
from typing import ClassVar

import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.report.semantic_ids.quality import make_quality
from genrec_jax.semantic_ids import quantizers, stages
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from tests import commands

ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIG = """
from ml_collections import ConfigDict

def get_config():
  return ConfigDict({
    "name": "small",
    "data": {"name": "simulator.Synthetic", "num_users": 40,
             "num_items": 90, "num_categories": 5},
    "split": {"name": "data.LeaveOneOut"},
    "filter": {"keep_unseen_items": True},
    "content": {"directory": "", "template": "{title}. {category}",
                "encoder": {"name": "content.TfidfSvd", "width": 8}},
    "tokens": {"directory": "", "seed": 0, "tokenizer": {
                 "name": "quantizers.ResidualKMeans",
                 "level_sizes": (8, 8), "iterations": 3},
               "unique": {"name": "semantic_ids.DedupLevel", "size": 32}},
  })
"""


@pytest.fixture
def command(tmp_path):
  config = tmp_path / "config.py"
  config.write_text(_CONFIG)

  def run(*arguments, workdir="w"):
    return commands.run(
      [
        "scripts/tokenize_items.py",
        f"--config={config}",
        f"--workdir={tmp_path / workdir}",
        *arguments,
      ],
      cwd=ROOT,
    )

  return run


@pytest.mark.slow
def test_makes_what_is_missing_and_says_what_differs(command, tmp_path):
  workdir = tmp_path / "w"
  first = command("--stop_after=vectors")
  assert first.returncode == 0, first.stderr
  assert not (workdir / "tokens").exists()
  assert ItemVectors.load(workdir / "vectors").version in first.stdout
  done = command()
  assert done.returncode == 0, done.stderr
  tokens = ItemTokens.load(workdir / "tokens")
  catalog = Catalog(workdir / "data")
  assert len(tokens.for_catalog(catalog.ids)) == catalog.num_items + 1
  assert f"version    {tokens.version}, revision 1" in done.stdout
  report = json.loads((workdir / "tokens" / "quality.json").read_text())
  assert report["version"] == tokens.version and report["unique"] == 1
  assert len(report["before_rule"]["levels"]) == 2
  assert report["purity"]["category"][1]["purity"] > 0.5
  assert "<svg" in (workdir / "tokens" / "quality.html").read_text()
  other = command("--config.tokens.tokenizer.iterations=4")
  assert other.returncode == 1 and "Traceback" not in other.stderr
  assert tokens.version in other.stderr
  assert "'iterations': 3" in other.stderr and "'iterations': 4" in other.stderr


@pytest.mark.slow
def test_what_is_up_to_date_stays(catalog, tmp_path):
  def everything():
    stages.make_tokens(_config(), catalog, tmp_path)
    make_quality(_config(), catalog, tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files}

  assert everything() == everything()


@pytest.fixture
def catalog(tmp_path):
  prepare(
    Synthetic(num_users=5, num_items=90, num_categories=5, mean_events=6.0),
    LeaveOneOut(),
    tmp_path / "data",
    keep_unseen_items=True,
  )
  return Catalog(tmp_path / "data")


def _config(**tokens):
  scope = {}
  exec(_CONFIG, scope)
  config = scope["get_config"]().to_dict()
  config["tokens"] |= tokens
  return config


@pytest.mark.slow
def test_unseen_items_get_codes_as_if_they_came_later(catalog, tmp_path):
  unseen = [catalog.ids[i] for i in np.flatnonzero(catalog.count == 0) if i]
  config = _config(assign_unseen=True)
  tokens = stages.make_tokens(config, catalog, tmp_path)
  assert [entry["items"] for entry in tokens.history] == [
    catalog.num_items - len(unseen),
    len(unseen),
  ]
  codes = tokens.for_catalog(catalog.ids)
  assert len(np.unique(codes[1:], axis=0)) == catalog.num_items
  assert stages.make_tokens(config, catalog, tmp_path).head == tokens.head
  assert not list(tmp_path.glob("tokens.tmp*"))


@pytest.mark.slow
def test_a_table_older_than_the_catalogue_is_told_apart(catalog, tmp_path):
  late = catalog.ids[3:6]
  part = stages.make_tokens(_config(), catalog, tmp_path, hold_out=late)
  make_quality(_config(), catalog, tmp_path)
  with pytest.raises(ValueError, match="3 of 91 items have no codes.*--assign"):
    stages.make_tokens(_config(), catalog, tmp_path)
  whole = stages.assign_new(_config(), catalog, tmp_path)
  assert whole.version == part.version and whole.revision == 2
  assert stages.make_tokens(_config(), catalog, tmp_path).head == whole.head
  report = make_quality(_config(), catalog, tmp_path)
  assert report["items"] == 90 and report["revision"] == 2
  assert stages.assign_new(_config(), catalog, tmp_path).revision == 2


def test_a_table_of_another_config_is_not_appended_to(catalog, tmp_path):
  late = catalog.ids[3:6]
  part = stages.make_tokens(_config(), catalog, tmp_path, hold_out=late)
  with pytest.raises(ValueError, match="seed: 0 there, 7 wanted"):
    stages.assign_new(_config(seed=7), catalog, tmp_path)
  assert ItemTokens.load(part.directory).revision == 1


def test_items_of_a_list_retire(catalog, tmp_path):
  before = stages.make_tokens(_config(), catalog, tmp_path)
  names = [catalog.ids[3], catalog.ids[7]]
  after = stages.retire(_config(), tmp_path, names)
  assert after.version == before.version and after.revision == 2
  gone = np.flatnonzero(~after.live_for(catalog.ids)[1:]) + 1
  assert gone.tolist() == [3, 7]
  with pytest.raises(ValueError, match="2 of 2 items are not live"):
    stages.retire(_config(), tmp_path, names)
  with pytest.raises(ValueError, match="names none"):
    stages.retire(_config(), tmp_path, [])


def test_a_table_fitted_on_unseen_items_is_told(catalog, tmp_path):
  stages.make_tokens(_config(), catalog, tmp_path)
  with pytest.raises(ValueError, match="fitted on .* items that have no event"):
    stages.make_tokens(_config(assign_unseen=True), catalog, tmp_path)


def test_sections_that_cannot_be(catalog, tmp_path):
  config = _config()
  config["content"]["templet"] = "x"
  with pytest.raises(ValueError, match="'templet' in config.content.*template"):
    stages.make_vectors(config, catalog, tmp_path)
  with pytest.raises(ValueError, match="no section 'tokens'"):
    stages.make_tokens({"content": {}}, catalog, tmp_path)
  config = _config()
  del config["content"]["encoder"]
  with pytest.raises(ValueError, match="config.content needs encoder"):
    stages.make_vectors(config, catalog, tmp_path)
  with pytest.raises(ValueError, match="codes is larger than"):
    sizes = {"name": "quantizers.ResidualKMeans", "level_sizes": (99,)}
    stages.make_tokens(_config(tokenizer=sizes), catalog, tmp_path)
  assert not (tmp_path / "tokens").exists()
  trained = {"name": "experiment.TrainedTokenizer", "workdir": ""}
  with pytest.raises(ValueError, match="does not name the one run"):
    stages.make_tokens(_config(tokenizer=trained), catalog, tmp_path)


@dataclasses.dataclass(frozen=True)
class _Trained:
  """As a run's tokenizer: its folder says nothing, its parameters all."""

  workdir: str
  seed: int = 0
  vectors_version: ClassVar = property(lambda self: self._version)
  _version: ClassVar[str] = ""

  def fit(self, vectors_ND, *, seed):
    return ResidualKMeans((8, 8), iterations=2).fit(vectors_ND, seed=self.seed)


def test_a_trained_tokenizer_is_known_by_its_parameters(
  catalog, tmp_path, monkeypatch
):
  config = _config(tokenizer={"name": "quantizers.Trained", "workdir": ""})
  config["before"] = {"run": "configs/x.py"}
  vectors = stages.make_vectors(config, catalog, tmp_path)
  monkeypatch.setattr(_Trained, "_version", vectors.version)
  monkeypatch.setattr(quantizers, "Trained", _Trained, raising=False)
  offered = [*quantizers.__all__, "Trained"]
  monkeypatch.setattr(quantizers, "__all__", offered)
  (tmp_path / "run").mkdir()
  made = stages.make_tokens(config, catalog, tmp_path)
  assert made.manifest["tokenizer"]["workdir"] == str(tmp_path / "run")
  moved = _config(
    tokenizer={"name": "quantizers.Trained", "workdir": str(ROOT)}
  )
  assert stages.make_tokens(moved, catalog, tmp_path).head == made.head
  moved["tokens"]["tokenizer"]["seed"] = 1
  with pytest.raises(ValueError, match="tokenizer_fingerprint: .* there"):
    stages.make_tokens(moved, catalog, tmp_path)
  monkeypatch.setattr(_Trained, "_version", "1234")
  with pytest.raises(ValueError, match="trained with the vectors 1234"):
    ItemTokens.make(tmp_path / "other", vectors, _Trained(""))


@pytest.mark.slow
def test_a_full_group_among_later_items_leaves_no_table(catalog, tmp_path):
  config = _config(assign_unseen=True)
  config["tokens"]["tokenizer"]["level_sizes"] = (1,)
  config["tokens"]["unique"]["size"] = 89
  with pytest.raises(ValueError, match="90 items share"):
    stages.make_tokens(config, catalog, tmp_path)
  assert not list(tmp_path.glob("tokens*"))
