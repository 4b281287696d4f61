# SPDX-License-Identifier: Apache-2.0
"""From texts to recommendations by codes: every stage, and what it refuses."""

import json
import pathlib
import shutil

import numpy as np
import pytest

import genrec_jax
from genrec_jax.evaluation.decoding import (
  Decoding,
  decoding_table,
  measure_decoding,
)
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from tests import commands

pytestmark = pytest.mark.slow
_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _script(name, *arguments, code=0):
  done = commands.run([_ROOT / "scripts" / name, *arguments])
  assert done.returncode == code, done.stdout + done.stderr
  return done


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("tokens") / "run"
  config = f"{_ROOT / 'configs' / 'tiger_amazon.py'}:decoder_only-quicktest"
  layers = "--config.system.backbone.num_layers=1"
  arguments = (f"--config={config}", f"--workdir={folder}", layers)
  _script("run.py", *arguments)
  (folder.parent / "flags.json").write_text(json.dumps(arguments))
  return folder


def _flags(workdir):
  return json.loads((workdir.parent / "flags.json").read_text())


def test_a_second_run_finds_every_stage_done(workdir):
  before = (workdir / "evaluation.json").stat().st_mtime_ns
  codes = (workdir / "tokens" / "manifest.json").stat().st_mtime_ns
  done = _script("run.py", *_flags(workdir))
  assert "up to date" in done.stdout
  assert "finished: all 3 steps done" in done.stdout
  assert (workdir / "evaluation.json").stat().st_mtime_ns == before
  assert (workdir / "tokens" / "manifest.json").stat().st_mtime_ns == codes
  for page in ("report.html", "tokens/quality.html"):
    assert "<svg" in (workdir / page).read_text()


def test_the_encoder_decoder_is_trained_and_asked(tmp_path):
  config = f"{_ROOT / 'configs' / 'tiger_amazon.py'}:quicktest"
  _script(
    "run.py",
    f"--config={config}",
    f"--workdir={tmp_path}",
    "--config.system.backbone.num_encoder_layers=1",
    "--config.system.backbone.num_decoder_layers=1",
    "--stop_after=training",
  )
  model = genrec_jax.load(tmp_path)
  assert len(model.recommend(user=model.users.ids[0], k=5)) == 5


def test_recommendations_are_items_that_the_user_has_not_had(workdir):
  model = genrec_jax.load(workdir)
  user = model.users.ids[0]
  answer = model.recommend(user=user, k=5)
  assert len(answer) == 5
  assert not set(answer["item_id"]) & set(model.history(user)["item_id"])
  assert (np.diff(answer["score"].to_numpy()) <= 0).all()
  with pytest.raises(ValueError, match="generates items and has no item"):
    model.similar_items(answer["item_id"][0])
  with pytest.raises(ValueError, match="no vectors to search"):
    genrec_jax.load(workdir, retriever="scann")


def test_retired_items_are_recommended_to_nobody(workdir, tmp_path):
  copy = shutil.copytree(workdir, tmp_path / "run")
  model = genrec_jax.load(copy)
  history = model.catalog.ids[1:3]
  gone = model.recommend(history=history, k=3)["item_id"].to_list()
  ItemTokens.load(copy / "tokens").retire(gone)
  answer = genrec_jax.load(copy).recommend(history=history, k=10)
  assert len(answer) == 10
  assert not set(answer["item_id"]) & set(gone)


def test_tokens_of_another_version_are_refused_by_both_names(workdir, tmp_path):
  copy = shutil.copytree(workdir, tmp_path / "run")
  old = ItemTokens.load(copy / "tokens").version
  shutil.rmtree(copy / "tokens")
  _script("tokenize_items.py", *_flags(workdir)[:1], f"--workdir={copy}",
          "--config.tokens.seed=1")  # fmt: skip
  new = ItemTokens.load(copy / "tokens").version
  assert new != old
  with pytest.raises(ValueError, match=f"{old}, and .* version {new}"):
    genrec_jax.load(copy)


def test_a_beam_as_wide_as_the_catalogue_is_exact(workdir):
  run = Run.open(workdir)
  found = measure_decoding(
    run, load_params(run).params, Decoding(users=20, num_beams=128)
  )
  assert found["users"] == 20
  assert found["overlap_of_10"] == 1
  assert found["metrics"]["beam"] == found["metrics"]["exact"]
  targets = [
    record["item"][place]
    for record in (run.histories[u] for u in range(len(run.histories)))
    for place in run.histories.split.targets(record, "test")
  ]
  cold = np.mean(run.catalog.count[targets] == 0)
  assert found["cold"]["share"] == pytest.approx(cold)
  assert set(found["cold"]["metrics"]) <= {"beam", "prefix_match"}
  assert "without a training event" in decoding_table(found)
  # Few beams leave places free, which back-off fills without changing them.
  assert found["filled"]["few_beams"] < found["filled"]["back_off"] == 1
  few, backed = (found["metrics"][n] for n in ("few_beams", "back_off"))
  assert few["hr@5"] == backed["hr@5"] and few["hr@50"] <= backed["hr@50"]
  shares = list(found["invalid_share_by_depth"].values())
  assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1


def test_training_without_tokens_says_how_to_make_them(tmp_path):
  config = f"{_ROOT / 'configs' / 'tiger_amazon.py'}:quicktest"
  done = _script(
    "train.py", f"--config={config}", f"--workdir={tmp_path / 'run'}", code=1
  )
  assert "genrec tokenize" in done.stderr
  assert "Traceback" not in done.stderr
