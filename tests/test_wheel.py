# SPDX-License-Identifier: Apache-2.0
"""The wheel holds all that commands need, and they run without a checkout."""

import fnmatch
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests import quick_xla

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGES = ("configs", "genrec_jax", "studies")


def _sources() -> set[str]:
  """Every file of the packages, but what running them leaves."""
  return {
    str(path.relative_to(_ROOT))
    for name in _PACKAGES
    for path in (_ROOT / name).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }


def test_every_file_is_declared():
  """Without building it: what pyproject.toml finds, against the tree."""
  text = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
  settings = tomllib.loads(text)["tool"]["setuptools"]
  patterns = settings["packages"]["find"]["include"]
  data = settings["package-data"]
  lost = []
  for file in map(pathlib.PurePath, sorted(_sources())):
    package = ".".join(file.parent.parts)
    found = any(fnmatch.fnmatchcase(package, p) for p in patterns)
    found &= (_ROOT / file.parent / "__init__.py").is_file()
    if file.suffix != ".py":
      found &= file.name in data.get(package, ())
    lost += [] if found else [str(file)]
  assert lost == []


def _can_build() -> bool:
  try:
    version = importlib.metadata.version("setuptools")
  except importlib.metadata.PackageNotFoundError:
    return False
  return tuple(int(x) for x in version.split(".")[:2]) >= (70, 1)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> pathlib.Path:
  if not _can_build():
    pytest.skip("a wheel is built with setuptools 70.1 or later: pip install")
  folder = tmp_path_factory.mktemp("wheel")
  for name in ("README.md", "LICENSE", "pyproject.toml"):
    shutil.copy(_ROOT / name, folder / name)
  for name in _PACKAGES:
    # Building writes beside the sources.
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(_ROOT / name, folder / name, ignore=leave)
  pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
  done = subprocess.run(
    [*pip, "--no-build-isolation", "--wheel-dir", folder, folder],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  (found,) = folder.glob("*.whl")
  return found


@pytest.mark.slow
def test_the_wheel_is_the_tree(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == _sources()
    for name in names:
      assert archive.read(name) == (_ROOT / name).read_bytes(), name


@pytest.mark.slow
def test_commands_run_without_a_checkout(wheel, tmp_path):
  """By the command's own line of entry_points.txt, in an empty folder."""
  (tmp_path / "site").mkdir()
  (tmp_path / "empty").mkdir()
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(tmp_path / "site")
  (points,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
  line = next(x for x in points.read_text().splitlines() if "genrec" in x)
  module, function = line.partition("=")[2].strip().split(":")
  start = f"import sys; from {module} import {function}; sys.exit({function}())"

  def genrec(*words):
    done = subprocess.run(
      [sys.executable, "-P", "-c", start, *words],
      cwd=tmp_path / "empty",
      env=os.environ
      | {"PYTHONPATH": str(tmp_path / "site"), "XLA_FLAGS": quick_xla.FLAGS},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

  assert "recommend" in genrec("--help")
  small = [
    *("--config.train.steps=1", "--config.train.eval_every_steps=1"),
    *("--config.system.backbone.num_layers=1", "--config.data.num_users=40"),
  ]
  said = genrec(
    *("run", "--config=hstu_movielens:quicktest", "--workdir=run", *small)
  )
  assert "== evaluation" in said
  assert "<svg" in (tmp_path / "empty/run/report.html").read_text()
  (user,) = genrec("recommend", "--workdir=run", "--list_users=1").split()
  assert "Recommended" in genrec("recommend", "--workdir=run", f"--user={user}")
