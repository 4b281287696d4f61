# SPDX-License-Identifier: Apache-2.0
"""Sizes and CRCs of files: what changed is named, and nothing else is."""

import errno
import mmap
import os
import zlib

import numpy as np
import pytest

from genrec_jax.core import crc


def _folder(tmp_path):
  (tmp_path / "deep").mkdir()
  (tmp_path / "deep" / "a").write_bytes(bytes(range(256)) * 10)
  (tmp_path / "empty").write_bytes(b"")
  return ["deep/a", "empty"]


def test_a_sum_is_of_pieces_whatever_the_threads(tmp_path, monkeypatch):
  names = _folder(tmp_path)
  data = (tmp_path / "deep" / "a").read_bytes()
  one = zlib.crc32(zlib.crc32(data).to_bytes(4, "little"))
  assert crc.file_sums(tmp_path, names) == {
    "deep/a": f"2560 {one:08x}",
    "empty": "0 00000000",
  }
  monkeypatch.setattr(crc, "_PIECE", 1000)
  pieces = [data[:1000], data[1000:2000], data[2000:]]
  many = b"".join(zlib.crc32(piece).to_bytes(4, "little") for piece in pieces)
  for threads in (1, 8):
    monkeypatch.setattr(crc, "_THREADS", threads)
    found = crc.file_sums(tmp_path, names)["deep/a"]
    assert found == f"2560 {zlib.crc32(many):08x}"


def test_mapped_files_have_the_same_sums(tmp_path, monkeypatch):
  names = _folder(tmp_path)
  assert crc.file_sums(tmp_path, names, mapped=True) == crc.file_sums(
    tmp_path, names
  )
  monkeypatch.setattr(crc, "_PIECE", mmap.ALLOCATIONGRANULARITY)
  data = np.random.default_rng(0).bytes(5 * crc._PIECE // 2)
  (tmp_path / "long").write_bytes(data)
  assert crc.file_sums(tmp_path, ["long"], mapped=True) == crc.file_sums(
    tmp_path, ["long"]
  )


@pytest.mark.parametrize("bit", [0, 8 * 1000 - 1, 8 * 1000, 8 * 2560 - 1])
def test_every_flipped_bit_is_found(bit, tmp_path, monkeypatch):
  monkeypatch.setattr(crc, "_PIECE", 1000)
  sums = crc.file_sums(tmp_path, _folder(tmp_path))
  assert not crc.changed(tmp_path, sums)
  path = tmp_path / "deep" / "a"
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)
  assert list(crc.changed(tmp_path, sums)) == ["deep/a"]
  assert not crc.changed(tmp_path, sums, size_only=True)


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
  names = _folder(tmp_path)
  sums = crc.file_sums(tmp_path, names)
  (tmp_path / "deep" / "a").write_bytes(b"x")
  (tmp_path / "empty").unlink()
  wrong = crc.changed(tmp_path, sums, size_only=True)
  assert wrong == {
    "deep/a": "is truncated (1 of 2560 bytes)",
    "empty": "is missing",
  }
  said = crc.said(tmp_path, wrong)
  assert said == f"{tmp_path}/deep/a {wrong['deep/a']} (and 1 more files)"

  def fail(*arguments):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  (tmp_path / "deep" / "a").write_bytes(bytes(2560))
  monkeypatch.setattr(crc.zlib, "crc32", fail)
  wrong = crc.changed(tmp_path, {"deep/a": sums["deep/a"]})
  assert wrong == {"deep/a": "cannot be read (Input/output error)"}
