# SPDX-License-Identifier: Apache-2.0
"""`genrec export`: what it prints, and what it refuses."""

import re

import pytest

from genrec_jax.cli import main
from tests.serving.export import runs


@pytest.fixture
def genrec(tmp_path, monkeypatch, capsys):
  """genrec(status, *flags): what it prints, and its errors."""
  runs.stored(tmp_path / "run")
  monkeypatch.chdir(tmp_path)

  def run(status, *words):
    capsys.readouterr()
    assert main.start(["export", *words]) == status
    return capsys.readouterr()

  return run


def test_a_run_is_written_checked_and_refused_where_it_is_damaged(
  genrec, tmp_path
):
  asked = ("--workdir=run", "--output=bundle")
  few = ("--platforms=cpu", "--batch_sizes=2", "--noany-size")
  out = genrec(0, *asked, *few, "--num_results=5", "--golden=3").out
  assert re.search(r"size +\d\.\d\d MB: parameters \d\.\d\d, programs", out)
  assert re.search(r"load +2 \d+\.\d s: compiled here, and 3 golden", out)
  assert "query, items, retrieve; for cpu; requests at a time: 2" in out
  assert "bundle exists" in genrec(1, *asked, *few).err
  assert "opened in" in genrec(0, "--check=bundle").out
  path = tmp_path / "bundle" / "programs" / "query.2.jax_export"
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 16
  path.write_bytes(data)
  error = genrec(1, "--check=bundle").err
  assert error.startswith("error: bundle/programs/query.2.jax_export is not")


@pytest.mark.parametrize(
  ("words", "status", "said"),
  [
    (("--workdir=run",), 2, "give --workdir and --output"),
    (("--workdir=run", "--check=a"), 2, "--check stands alone"),
    (("--workdir=run", "--output=a", "--platforms=gpu"), 1, "'gpu' is unknown"),
    (
      ("--workdir=run", "--output=a", "--batch_sizes=1,x"),
      2,
      "'x' is no whole number",
    ),
    (("--check=run",), 1, "is no bundle"),
  ],
)
def test_what_cannot_be_is_said(genrec, tmp_path, words, status, said):
  assert said in genrec(status, *words).err
  assert not (tmp_path / "a").exists()
