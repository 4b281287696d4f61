# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that goes on from one that was trained first."""

import json
import pathlib

import numpy as np
import pytest

from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.trained_tokenizer import TrainedTokenizer
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from tests import commands

_ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_codes_are_those_of_the_second_stage_which_starts_from_the_first(
  tmp_path,
):
  config = _ROOT / "configs" / "tiger_amazon.py"
  done = commands.run(
    [
      _ROOT / "scripts" / "run.py",
      f"--config={config}:engagement-decoder_only-quicktest",
      f"--workdir={tmp_path}",
      "--stop_after=tokens",
    ]
  )
  assert done.returncode == 0, done.stderr
  second = tmp_path / "tuned"
  sources = json.loads((second / "config.json").read_text())["train"]
  assert sources["pretrained"] == {
    "": {"path": str(tmp_path / "rqvae"), "prefix": ""}
  }
  first, last = (
    load_params(Run.open(folder), "latest").params
    for folder in (tmp_path / "rqvae", second)
  )
  # Three steps at a small rate, from there and not from anew.
  for part in ("encoder_0", "decoder_0"):
    a, b = (np.asarray(params[part]["kernel"]) for params in (first, last))
    assert 0 < np.abs(a - b).max() < 0.01
  tokens = ItemTokens.load(tmp_path / "tokens")
  vectors = np.zeros((1, tokens.tokenizer().width), np.float32)
  fitted = TrainedTokenizer(str(second)).fit(vectors)
  assert tokens.tokenizer().fingerprint == fitted.fingerprint
