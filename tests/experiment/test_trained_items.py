# SPDX-License-Identifier: Apache-2.0
"""Item vectors out of a run: trained by the commands, read back, joined."""

import pathlib

import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.experiment import load_params
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.trained_items import TrainedItems
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


_CONFIG = _ROOT / "configs" / "tiger_amazon.py"
_WORDS = [
  _ROOT / "scripts" / "run.py",
  f"--config={_CONFIG}:collaborative-decoder_only-quicktest",
  "--stop_after=tokens",
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """Codes of texts and of a SASRec, which is trained for them."""
  folder = tmp_path_factory.mktemp("items") / "run"
  done = commands.run([*_WORDS, f"--workdir={folder}"])
  assert done.returncode == 0, done.stderr
  return folder


@pytest.mark.slow
def test_codes_of_texts_and_a_run_of_before(workdir):
  items = TrainedItems(str(workdir / "sasrec"))
  run = Run.open(workdir / "sasrec")
  own = np.asarray(run.item_vectors(load_params(run).params))
  ids = [*run.catalog.ids[1:], "unheard of"]
  vectors, known = items.vectors(ids)
  seen = np.asarray(run.catalog.count)[1:] > 0
  np.testing.assert_array_equal(known, [*seen, False])
  np.testing.assert_array_equal(vectors[:-1][seen], own[1:][seen])
  assert not vectors[~known].any()

  tokens = ItemTokens.load(workdir / "tokens")
  content = ItemVectors.load(workdir / "vectors")
  made = tokens.manifest["vectors"]
  assert made["content_space"] == content.space != made["space"]
  # The second time nothing is made, and other weights are refused.
  words = [*_WORDS, f"--workdir={workdir}"]
  done = commands.run(words)
  assert done.returncode == 0, done.stderr
  assert ItemTokens.load(workdir / "tokens").version == tokens.version
  done = commands.run([*words, "--config.tokens.join.weight=3.0"])
  assert done.returncode == 1 and "of another kind" in done.stderr


@pytest.mark.slow
def test_a_run_on_other_data_is_refused_for_new_codes(workdir, tmp_path):
  # Its SASRec has seen the items that are held out here.
  second = tmp_path / "held"
  flags = [
    "--config.filter.hold_out_items=0.2",
    f"--config.tokens.join.items.workdir={workdir / 'sasrec'}",
  ]
  done = commands.run([*_WORDS, *flags, f"--workdir={second}"])
  assert done.returncode == 1
  assert "join.items: the run in" in done.stderr
  assert "trained on other data" in done.stderr
  assert not (second / "tokens").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no run"):
    TrainedItems(str(tmp_path)).vectors(["a"])
