# SPDX-License-Identifier: Apache-2.0
"""Models that find items, by vectors or by codes, as bundles."""

import numpy as np
import pytest

from configs import cobra_amazon, sasrec_movielens, tiger_amazon
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.serving.export import Bundle, ExportOptions, write_bundle
from tests import vector_runs
from tests.serving.export import runs

_OPTIONS = ExportOptions(batch_sizes=(5,), num_golden=4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  return vector_runs.prepared(tmp_path_factory.mktemp("items"))


def _assert_finds_the_same(run, loaded, written):
  search = run.search(loaded.params, fill=False)
  requests = next(iter_requests(run.histories, "validation", 5))
  seen = [record["item"] for record in requests.history]
  num_items = run.histories.manifest.num_items
  for rows in (None, 5):
    bundle = Bundle.open(written.directory, rows=rows)
    for allowed in (None, ItemMask.all_but(seen, num_items)):
      ids, scores, aux = bundle.search(requests, 4, allowed)
      expected_ids, expected, expected_aux = search(requests, 4, allowed)
      np.testing.assert_allclose(scores, expected, atol=1e-5)
      np.testing.assert_array_equal(ids, expected_ids)
      assert (ids > 0).any() and len(np.unique(ids)) > 4
      assert set(aux) == set(expected_aux)
      for name, x in expected_aux.items():
        np.testing.assert_array_equal(aux[name], x)
      if allowed is not None:
        for found, hidden in zip(ids, seen, strict=True):
          assert not np.isin(found, hidden).any()


@pytest.mark.slow
def test_sasrec_is_three_programs(tmp_path):
  config = sasrec_movielens.get_config("quicktest")
  config.data.num_users = 12
  config.system.width = 8
  config.system.backbone.num_layers = 1
  run, loaded = runs.untrained(config, tmp_path / "run")
  written = write_bundle(run, loaded, tmp_path / "bundle", _OPTIONS)
  assert [*written.manifest["programs"]] == ["query", "items", "retrieve"]
  _assert_finds_the_same(run, loaded, written)


@pytest.mark.slow
def test_beams_of_a_decoder_are_one_program(prepared, tmp_path):
  config = tiger_amazon.get_config("quicktest-decoder_only")
  runs.of_codes(config, prepared)
  run, loaded = runs.untrained(config, tmp_path / "run")
  written = write_bundle(run, loaded, tmp_path / "bundle", _OPTIONS)
  assert [*written.manifest["programs"]] == ["decode"]
  _assert_finds_the_same(run, loaded, written)


@pytest.mark.slow
def test_beams_of_an_encoder_decoder_of_another_number(prepared, tmp_path):
  config = tiger_amazon.get_config("quicktest")
  runs.of_codes(config, prepared)
  run, loaded = runs.untrained(config, tmp_path / "run")
  options = ExportOptions(batch_sizes=(5,), num_golden=4, num_results=7)
  written = write_bundle(run, loaded, tmp_path / "bundle", options)
  assert written.manifest["num_results"] == 7
  bundle = Bundle.open(written.directory)
  requests = next(iter_requests(run.histories, "validation", 5))
  ids, scores, aux = bundle.search(requests, 7)
  # The config has four beams, which could not fill the list.
  assert run.retrieval.num_beams == 4 and (ids > 0).all()
  codes = run.artifacts.codes()
  np.testing.assert_array_equal(aux["codes"], codes[ids])
  assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.slow
def test_beams_and_vectors_are_two_programs(prepared, tmp_path):
  run = vector_runs.run_of(prepared, tmp_path / "run", cobra_amazon)
  loaded = vector_runs.loaded(run)
  written = write_bundle(run, loaded, tmp_path / "bundle", _OPTIONS)
  assert [*written.manifest["programs"]] == ["items", "decode"]
  _assert_finds_the_same(run, loaded, written)
