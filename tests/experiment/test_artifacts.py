# SPDX-License-Identifier: Apache-2.0
"""A model accepts the table that it was trained with, grown or not."""

import shutil

import numpy as np
import pytest

from configs import cobra_amazon
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Catalog
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.experiment import training
from genrec_jax.experiment.artifacts import KINDS, Artifacts
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import read_progress
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.uniqueness import DedupLevel
from genrec_jax.train.termination import Termination
from tests import vector_runs

_SECTIONS = {kind.section: {} for kind in KINDS.values()}


def _make(workdir, seed=0):
  prepare(
    Synthetic(num_users=60, num_items=40), LeaveOneOut(), workdir / "data"
  )
  catalog = Catalog(workdir / "data")
  vectors = ItemVectors.make(
    catalog, TfidfSvd(width=8), "{title}", workdir / "vectors"
  )
  return ItemTokens.make(
    workdir / "tokens",
    vectors,
    ResidualKMeans((4, 4)),
    DedupLevel(40),
    seed=seed,
  )


def _open(workdir):
  artifacts = Artifacts.of(_SECTIONS, workdir, Histories(workdir / "data"))
  assert artifacts.versions == {}
  assert artifacts.codes().shape == (len(artifacts.catalog.ids), 3)
  return artifacts


@pytest.mark.slow
def test_codes_and_vectors_are_in_the_order_of_the_catalogue(tmp_path):
  tokens = _make(tmp_path)
  artifacts = _open(tmp_path)
  assert not artifacts.codes()[0].any() and not artifacts.vectors()[0].any()
  for index in (1, 7, 30):
    row = tokens.item_ids.index(artifacts.catalog.ids[index])
    np.testing.assert_array_equal(artifacts.codes()[index], tokens.codes[row])
  assert set(artifacts.versions) == {
    *("vectors", "vectors_space", "tokens", "lineage"),
  }


def test_a_table_that_has_grown_is_accepted_and_says_who_left(tmp_path):
  tokens = _make(tmp_path)
  trained = _open(tmp_path).versions
  tokens.retire(tokens.item_ids[3:5])
  artifacts = _open(tmp_path)
  artifacts.check(trained)
  gone = [artifacts.catalog.index_of(name) for name in tokens.item_ids[3:5]]
  assert not artifacts.live()[gone].any() and not artifacts.live()[0]
  assert artifacts.live().sum() == len(tokens.codes) - 3


class _Others:
  """Vectors of another run, which knows all items but the first."""

  def __init__(self, fingerprint):
    self.fingerprint = fingerprint

  def vectors(self, item_ids):
    known = np.arange(len(item_ids)) > 0
    return np.ones((len(item_ids), 3), np.float32) * known[:, None], known


def test_vectors_of_another_run_come_by_item_and_have_a_version(tmp_path):
  _make(tmp_path)
  histories = Histories(tmp_path / "data")
  artifacts = Artifacts(histories, {}, _Others("a"))
  assert artifacts.versions == {}
  vectors, known = artifacts.collaborative()
  assert vectors.shape == (len(artifacts.catalog.ids), 3)
  assert not known[:2].any() and known[2:].all()
  assert not vectors[:2].any() and vectors[2:].all()
  assert artifacts.versions == {"collaborative": "a"}
  other = Artifacts(histories, {}, _Others("b"))
  other.check(artifacts.versions)  # not read yet
  other.collaborative()
  with pytest.raises(ValueError, match="collaborative vectors a, and"):
    other.check(artifacts.versions)
  with pytest.raises(ValueError, match="no section 'collaborative'"):
    Artifacts(histories, {}).collaborative()


def test_another_table_is_refused_by_both_versions(tmp_path):
  _make(tmp_path / "a")
  _make(tmp_path / "b", seed=5)
  trained, other = _open(tmp_path / "a").versions, _open(tmp_path / "b")
  with pytest.raises(ValueError, match=other.versions["tokens"]) as error:
    other.check(trained)
  assert trained["tokens"] in str(error.value)


def test_a_table_with_another_past_is_refused(tmp_path):
  tokens = _make(tmp_path)
  before = _open(tmp_path).versions
  tokens.retire(tokens.item_ids[3:4])
  grown = _open(tmp_path)
  future = {**before, "lineage": f"{tokens.revision + 1} 0123456789abcdef"}
  with pytest.raises(ValueError, match="does not continue the one of revision"):
    grown.check(future)


def test_missing_artifacts_say_how_to_make_them(tmp_path):
  prepare(
    Synthetic(num_users=60, num_items=40), LeaveOneOut(), tmp_path / "data"
  )
  artifacts = Artifacts.of(_SECTIONS, tmp_path, Histories(tmp_path / "data"))
  for name in ("codes", "vectors"):
    with pytest.raises(ValueError, match="genrec tokenize"):
      getattr(artifacts, name)()


def test_parameters_of_contents_that_are_made_otherwise_are_refused(tmp_path):
  _make(tmp_path)
  artifacts = _open(tmp_path)
  artifacts.vectors()
  versions = artifacts.versions
  _open(tmp_path).check_spaces(versions)
  # Of other items, made the same way, they may be.
  _open(tmp_path).check_spaces({**versions, "vectors": "other"})
  with pytest.raises(ValueError, match="of the space other, and those in"):
    _open(tmp_path).check_spaces({**versions, "vectors_space": "other"})
  # What this run does not have it does not read.
  shutil.rmtree(tmp_path / "vectors")
  _open(tmp_path).check_spaces({**versions, "vectors_space": "other"})


@pytest.mark.slow
def test_a_training_keeps_the_versions_of_what_its_parameters_hold(tmp_path):
  folder = vector_runs.prepared(tmp_path / "made")
  run = vector_runs.run_of(folder, tmp_path / "run", cobra_amazon)
  training.train(run, Termination(), lambda: None)
  kept = read_progress(Run.open(tmp_path / "run"))["artifacts"]
  vectors = ItemVectors.load(folder / "vectors")
  assert kept["vectors"] == vectors.version
  assert kept["vectors_space"] == vectors.space
