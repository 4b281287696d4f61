# SPDX-License-Identifier: Apache-2.0
"""A bundle of the stored run, for any number of requests and for four."""

import shutil

import pytest

from genrec_jax.serving.export import ExportOptions, write_bundle
from tests.serving.export import runs


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
  """The run, its parameters, and its bundle; read only."""
  folder = tmp_path_factory.mktemp("export")
  run, loaded = runs.stored(folder / "run")
  options = ExportOptions(batch_sizes=(4,))
  written = write_bundle(run, loaded, folder / "bundle", options)
  return run, loaded, written


@pytest.fixture
def bundle(stored, tmp_path):
  """A copy of the bundle to write into."""
  return shutil.copytree(stored[2].directory, tmp_path / "bundle")
