# SPDX-License-Identifier: Apache-2.0
"""A tokenizer out of a run: trained by the commands, read back, checked."""

import pathlib

import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.uniqueness import RandomLastLevel
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _do(script, workdir, *flags):
  done = commands.run(
    [
      _ROOT / "scripts" / script,
      f"--config={_ROOT / 'configs' / 'rqvae_amazon.py'}:contrastive-quicktest",
      f"--workdir={workdir}",
      *flags,
    ]
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


@pytest.mark.slow
def test_a_run_becomes_a_tokenizer(tmp_path):
  run = tmp_path / "run"
  _do("run.py", run, "--stop_after=vectors")
  assert "all 3 steps done" in _do("train.py", run)
  vectors = ItemVectors.load(run / "vectors")
  trained = TrainedTokenizer(str(run))
  assert trained.vectors_version == vectors.version
  fitted = trained.fit(vectors.vectors[1:], seed=0)
  codes = fitted.encode(vectors.vectors[1:])
  assert codes.shape == (len(vectors.item_ids) - 1, 4)
  assert fitted.fingerprint == trained.fit(vectors.vectors[1:]).fingerprint

  tokens = ItemTokens.make(
    tmp_path / "tokens", vectors, trained, RandomLastLevel(share_overflow=True)
  )
  np.testing.assert_array_equal(tokens.codes[1:, :3], codes[:, :3])
  with pytest.raises(ValueError, match="codes vectors of width 24"):
    trained.fit(vectors.vectors[1:, :5])

  # Raised steps: the run goes on where it was.
  out = _do("train.py", run, "--config.train.steps=5")
  assert "resuming at step 3 of 5" in out and "all 5 steps done" in out
  later = TrainedTokenizer(str(run)).fit(vectors.vectors[1:])
  assert later.fingerprint != fitted.fingerprint


def test_a_folder_without_a_run_is_refused(tmp_path):
  with pytest.raises(ValueError, match="holds no run"):
    TrainedTokenizer(str(tmp_path)).fit(np.zeros((2, 3), np.float32))
