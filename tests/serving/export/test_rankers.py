# SPDX-License-Identifier: Apache-2.0
"""Rankers as bundles: encoders without histories, programs without a model."""

import importlib
import re

import numpy as np
import pytest

from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.evaluation.scored import scorer
from genrec_jax.serving.export import Bundle, ExportOptions, write_bundle
from tests.serving.export import runs

_OPTIONS = ExportOptions(platforms=("cpu",), batch_sizes=(3,), num_golden=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["din_kuairand", "genrank_kuairand"])
def test_a_ranker_scores_as_the_run(tmp_path, name):
  config = importlib.import_module(f"configs.{name}").get_config("quicktest")
  run, loaded = runs.untrained(config, tmp_path / "run")
  written = write_bundle(run, loaded, tmp_path / "bundle", _OPTIONS)
  assert [*written.manifest["programs"]] == ["score"]
  # Of users a bundle has what the layout reads, and no events.
  names = set(written.manifest["files"])
  reads_users = re.search(r"user\.|'context': \(", str(config.to_dict()))
  assert ("data/users.parquet" in names) <= bool(reads_users)
  assert not [n for n in names if "histories" in n]
  layout = run.pipeline.layout
  shown = iter_impressions(
    run.histories, "validation", layout.feedback, 3, layout.num_candidates
  )
  impressions = next(shown)
  expected = scorer(run, loaded.params)(impressions)
  assert np.ptp(expected[impressions.candidates > 0]) > 0
  for rows in (None, 3):
    bundle = Bundle.open(written.directory, rows=rows)
    made = bundle.layout.impression_batch(impressions)
    for key, array in layout.impression_batch(impressions).items():
      np.testing.assert_array_equal(made[key], array)
    found = bundle.score(impressions)
    np.testing.assert_allclose(found, expected, atol=1e-6)
  with pytest.raises(ValueError, match="candidates: the programs of"):
    shorter = iter_impressions(
      run.histories, "validation", layout.feedback, 3, layout.num_candidates + 1
    )
    bundle.score(next(shorter))
