# SPDX-License-Identifier: Apache-2.0
"""Checksums and the state of archives."""

import gzip
import hashlib
import os
import zipfile

import pytest

from genrec_jax.core import checksums


def test_names_are_told_apart_by_their_folders(tmp_path):
  for folder in ("a", "b"):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "log.csv").write_text(folder)
  paths = [tmp_path / "a" / "log.csv", tmp_path / "b" / "log.csv"]
  assert checksums.sha256(paths) == {
    "a/log.csv": hashlib.sha256(b"a").hexdigest(),
    "b/log.csv": hashlib.sha256(b"b").hexdigest(),
  }
  assert list(checksums.sha256(paths[:1])) == ["log.csv"]
  with pytest.raises(checksums.MissingSource, match="no file .*gone.csv"):
    checksums.sha256([tmp_path / "gone.csv"])


def test_a_gzip_is_whole_at_its_full_length_only(tmp_path):
  path = tmp_path / "x.gz"
  data = gzip.compress(os.urandom(3000))
  path.write_bytes(data)
  checksums.check_gzip(path)
  damaged = data[:100] + bytes([data[100] ^ 1]) + data[101:]
  for part in (data[:5], data[:1000], data[:-1], damaged):
    path.write_bytes(part)
    with pytest.raises(ValueError, match="x.gz is truncated or damaged"):
      checksums.check_gzip(path)


def test_a_damaged_member_of_a_zip_is_named(tmp_path):
  path = tmp_path / "x.zip"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("inner.txt", b"some text")
  data = path.read_bytes()
  path.write_bytes(data.replace(b"some text", b"same text"))
  with checksums.open_zip(path) as archive:
    with pytest.raises(ValueError, match="inner.txt in .*x.zip is truncated"):
      checksums.read_member(archive, "inner.txt")
