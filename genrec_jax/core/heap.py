# SPDX-License-Identifier: Apache-2.0
"""Memory that was freed, given back to the system.

glibc keeps what a program frees for what it will want next, and for each of
several threads apart. XLA frees some tens of MB whenever it has compiled, which
nothing wants again. Where the C library is another one nothing happens here.
"""

import ctypes
import functools
import platform

# <malloc.h>
_M_ARENA_MAX = -8


def give_back() -> None:
  """Gives back what is free now; takes milliseconds."""
  library = _glibc()
  if library is not None:
    library.malloc_trim(0)


def share_arenas() -> None:
  """Lets all threads of the process take from two heaps, from now on.

  For a whole command, before it starts threads: a library's user decides.
  """
  library = _glibc()
  if library is not None:
    library.mallopt(_M_ARENA_MAX, 2)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
  name, _ = platform.libc_ver()
  return ctypes.CDLL(None) if name == "glibc" else None
