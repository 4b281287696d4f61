# SPDX-License-Identifier: Apache-2.0
"""Freed memory goes back where the C library is asked for it."""

import ctypes
import platform
import subprocess
import sys

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
  heap.keep_freed()
  asked = [("malloc_trim", 0), ("mallopt", -8, 2)]
  asked += [("mallopt", -4, 0), ("mallopt", -1, 2**31 - 1)]
  assert calls == (asked if library == "glibc" else [])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
@pytest.mark.parametrize("kept", [False, True])
def test_large_blocks_are_cleared_again_unless_they_are_kept(kept):
  code = (
    "import resource, numpy as np\n"
    "from genrec_jax.core import heap\n"
    f"if {kept}: heap.keep_freed()\n"
    "def faults():\n"
    "  np.ones(1 << 23)\n"
    "  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
    "first = faults()\n"
    "print(faults() - first)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  # 64 MB are 16,384 pages of 4 KB; larger pages are fewer.
  assert (int(done.stdout) < 10) == kept


def test_this_c_library_answers():
  heap._glibc.cache_clear()
  heap.give_back()
