# SPDX-License-Identifier: Apache-2.0
"""SIGTERM exits at once, is deferred, and is never forgotten."""

import gc
import os
import signal

import pytest

from genrec_jax.train.termination import Termination


@pytest.fixture
def termination():
  before = signal.getsignal(signal.SIGTERM)
  yield Termination().install()
  signal.signal(signal.SIGTERM, before)


def _terminate():
  os.kill(os.getpid(), signal.SIGTERM)


def test_exits_0_where_nothing_is_deferred(termination):
  with pytest.raises(SystemExit) as exit_info:
    _terminate()
  assert exit_info.value.code == 0
  assert termination.arrived


def test_deferred_is_noted(termination):
  with termination.deferred():
    _terminate()
    assert termination.arrived


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exit_that_the_garbage_collector_swallows_is_noted(termination):
  def callback(phase, info):
    if phase == "start":
      _terminate()

  gc.callbacks.append(callback)
  try:
    gc.collect()
  finally:
    gc.callbacks.remove(callback)
  assert termination.arrived
