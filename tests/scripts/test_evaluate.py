# SPDX-License-Identifier: Apache-2.0
"""scripts/evaluate.py finds out early what it could not write at the end."""

import errno
import importlib.util
import os
import pathlib
import tempfile

import pytest

_PATH = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "evaluate.py"


@pytest.fixture(scope="module")
def script():
  # Its flags are defined anew: under absl that is an error in one process.
  from absl import flags

  known = set(flags.FLAGS)
  spec = importlib.util.spec_from_file_location("evaluate_script", _PATH)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  yield module
  for name in set(flags.FLAGS) - known:
    delattr(flags.FLAGS, name)


def test_a_read_only_folder_is_named_with_what_to_do(
  script, tmp_path, monkeypatch
):
  script.check_writable(tmp_path)
  assert not list(tmp_path.iterdir())

  def refuse(*arguments, **options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
  with pytest.raises(ValueError, match=r"Read-only file system.*cp -r"):
    script.check_writable(tmp_path)
