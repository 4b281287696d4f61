# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back where the C library is asked for it."""

import ctypes
import platform

import pytest

from genrec_jax.core import heap


class _Library(ctypes.CDLL):
  """One that is not opened."""

  def __init__(self):
    pass


@pytest.fixture
def calls(monkeypatch):
  """What the C library is asked, whichever it is."""
  found = []
  library = _Library()
  library.malloc_trim = lambda pad: found.append(("malloc_trim", pad))
  library.mallopt = lambda *setting: found.append(("mallopt", *setting))
  monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
  heap._glibc.cache_clear()
  yield found
  heap._glibc.cache_clear()


@pytest.mark.parametrize("library", ["glibc", "", "musl"])
def test_only_glibc_is_asked(monkeypatch, calls, library):
  monkeypatch.setattr(platform, "libc_ver", lambda: (library, "1"))
  heap.give_back()
  heap.share_arenas()
  asked = [("malloc_trim", 0), ("mallopt", -8, 2)]
  assert calls == (asked if library == "glibc" else [])


def test_this_c_library_answers():
  heap._glibc.cache_clear()
  heap.give_back()
